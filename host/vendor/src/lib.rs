//! Computes with a vendor's library that is found at run time: ONNX Runtime, RKNN, AscendCL.
