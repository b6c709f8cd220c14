"""Sessions as the runners have them: on one thread, which leaves the other cores to the tests beside."""

import onnxruntime


def session_of(graph: bytes) -> onnxruntime.InferenceSession:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.log_severity_level = 3  # what is wrong with an export, it says at each run
    return onnxruntime.InferenceSession(graph, options, providers=["CPUExecutionProvider"])
