"""What each MIL operation computes, in numpy: one file a family, each with a table from op to function.

A function's positional parameters are tensors, named as in MIL; its keyword-only parameters are constants,
given as Python values. `COMPUTES` ops get float16 tensors as float32 and their results are rounded to the
declared dtype; `MOVES` ops get every tensor as it is stored.
"""
