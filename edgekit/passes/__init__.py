"""One graph rewrite a file, each a verb_noun; every pass keeps the outputs that ONNX Runtime gives."""
