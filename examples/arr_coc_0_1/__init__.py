"""arr-coc-0-1, a vision-language model that chooses its visual tokens, in our own PyTorch code."""
