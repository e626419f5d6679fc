"""Anything a user holds (an ONNX file, later torch and Hugging Face) becomes components of onnx_ir.Model."""
