"""benchmark_model's words and what it prints: every form that is published, read by hand."""

# ruff: noqa: E501 - lines as the tool prints them
from __future__ import annotations

import numpy as np
import pytest

from edgekit._device_tool import ToolCall
from edgekit.errors import UsageError
from edgekit.profiles.probes.transport import DeviceError
from edgekit.targets.litert.benchmark_model import BenchmarkModel

# TensorFlow 2.4 on a Qualcomm phone, as published with a YOLOv5 benchmark.
OLD = """count=5 first=360262 curr=300000 min=290000 max=360262 avg=304586 std=22000

count=50 first=249042 curr=250889 min=247067 max=254474 avg=249684 std=1442
Inference timings in us: Init: 16242, First inference: 360262, Warmup (avg): 304586, Inference (avg): 249684
Note: as the benchmark tool itself affects memory footprint, the following is only APPROXIMATE.
Peak memory footprint (MB): init=4.92969 overall=138.809
"""
# LiteRT of 2024 on a phone's GPU, with percentiles and the peak memory.
NEW = """INFO: Created TensorFlow Lite delegate for GPU.
VERBOSE: Replacing 58 out of 58 node(s) with delegate (TfLiteGpuDelegateV2) node, yielding 1 partitions.
INFO: Explicitly applied GPU delegate, and the model graph will be completely executed by the delegate.
INFO: Initialized session in 842.225ms.
INFO: count=13 first=115098 curr=36666 min=32079 max=115098 avg=40199.8 std=21694 p5=32079 median=34000 p95=115098

INFO: count=25 first=187533 curr=140990 min=140071 max=195121 avg=145528 std=13583 p5=140545 median=141253 p95=187533

INFO: Inference timings in us: Init: 842225, First inference: 115098, Warmup (avg): 40199.8, Inference (avg): 145528
INFO: Overall peak memory footprint (MB) via periodic monitoring: 74.6641
"""
SLOW = """count=1 curr=3512391

count=50 first=2990275 curr=2913402 min=2727568 max=3189954 avg=2.95034e+06 std=109798

Inference timings in us: Init: 17187, First inference: 3512391, Warmup (avg): 3.51239e+06, Inference (avg): 2.95034e+06
"""
PARTLY = """INFO: Created TensorFlow Lite delegate for GPU.
ERROR: Following operations are not supported by GPU delegate:
DEQUANTIZE:
TRANSPOSE_CONV: Max version supported: 3. Requested version 4.
123 operations will run on the GPU, and the remaining 156 operations will run on the CPU.
"""


@pytest.fixture
def tool() -> BenchmarkModel:
    return BenchmarkModel(
        [("x:0", "float32", [1, 2])], [("y", "float32", [1, 2]), ("k", "int32", [1])], "cpu"
    )


def test_the_oldest_form_is_read_in_ms_and_lacks_percentiles(tool: BenchmarkModel) -> None:
    told = tool.read(OLD)
    assert (told.count, told.warm_up_count) == (50, 5)
    assert told.ms == pytest.approx({"mean": 249.684, "min": 247.067, "max": 254.474, "std": 1.442})
    assert (told.load_ms, told.first_ms, told.warm_up_ms) == (16.242, 360.262, 304.586)
    assert told.peak_bytes is None


def test_the_newest_form_has_percentiles_memory_and_where_it_ran(tool: BenchmarkModel) -> None:
    told = tool.read(NEW)
    assert (told.ms["p50"], told.ms["p95"], told.ms["mean"]) == (141.253, 187.533, 145.528)
    assert told.peak_bytes == pytest.approx(74.6641 * 1024 * 1024)
    assert [(row.unit, row.ops) for row in told.placements] == [("GPU", 58)]


def test_long_times_come_in_scientific_notation(tool: BenchmarkModel) -> None:
    assert tool.read(SLOW).ms["mean"] == pytest.approx(2950.34)


def test_runs_that_are_all_alike_have_one_figure_only(tool: BenchmarkModel) -> None:
    last = "Inference timings in us: Init: 9, First inference: 7, Warmup (avg): 7, Inference (avg): 5\n"
    told = tool.read(f"count=1 curr=7\ncount=3 curr=5(all same)\n{last}")
    assert told.ms == {"mean": 0.005, "min": 0.005, "max": 0.005, "p50": 0.005, "p95": 0.005, "std": 0.0}


def test_what_a_delegate_left_is_told_with_its_reasons(tool: BenchmarkModel) -> None:
    gpu, cpu = tool.read(PARTLY + NEW.partition("INFO: Initialized")[2]).placements
    assert (gpu.unit, gpu.ops, cpu.unit, cpu.ops) == ("GPU", 123, "CPU", 156)
    assert "TRANSPOSE_CONV: Max version supported: 3" in cpu.why


@pytest.mark.parametrize(
    "printed", ["", "ERROR: Failed to load model\n", "count=nan\n", OLD.replace("249684", "1e999")]
)
def test_a_call_that_timed_nothing_is_told_in_its_own_words(tool: BenchmarkModel, printed: str) -> None:
    with pytest.raises(DeviceError, match="benchmark_model"):
        tool.read(printed)


def test_the_words_feed_files_by_the_order_of_inputs(tool: BenchmarkModel) -> None:
    words = tool.command(ToolCall("m.tflite", ("a:b/in",), threads=4, runs=20, warm_up=3, output="out"))
    assert "--input_layer_value_files=in0:a::b/in" in words
    assert "--input_layer_shape=1,2" in words
    assert {"--graph=m.tflite", "--num_threads=4", "--num_runs=20", "--warmup_runs=3"} <= set(words)
    assert {"--output_filepath=out", "--use_xnnpack=true"} <= set(words)


def test_inputs_and_outputs_are_raw_bytes(tool: BenchmarkModel) -> None:
    assert tool.encode({"x:0": np.array([[1, 2]], np.float32)}) == [np.array([1, 2], "<f4").tobytes()]
    with pytest.raises(UsageError, match="takes float32"):
        tool.encode({"x:0": np.array([[1, 2]], np.float64)})
    found = tool.decode(np.array([3, 4], "<f4").tobytes() + np.array([7], "<i4").tobytes())
    assert found["y"].tolist() == [[3, 4]]
    assert found["k"].tolist() == [7]
    with pytest.raises(DeviceError, match="11 bytes"):
        tool.decode(bytes(11))


def test_an_unknown_accelerator_is_refused() -> None:
    with pytest.raises(UsageError, match="cpu, gpu"):
        BenchmarkModel([], [], "tpu")


PROFILED = ToolCall("m.tflite", ("in",), threads=1, runs=20, layers="p.csv")
WITH_START = """Profiling Info for Benchmark Initialization:
============================== Run Order ==============================
node type, start, first, avg_ms, %, cdf%, mem KB, times called, name
AllocateTensors, 0, 0.029, 0.029, 100%, 100%, 0, 1, AllocateTensors/0

Operator-wise Profiling Info for Regular Benchmark Runs:
============================== Run Order ==============================
node type, start, first, avg_ms, %, cdf%, mem KB, times called, name
CONV_2D, 0, 0.11, 0.0930388, 44.8994%, 44.8994%, 0, 1, [sequential_11/conv2d_33/Conv2D]:0
Convolution (NHWC, QC8) IGEMM, 0.0931277, 0.034, 0.0300884, 14.5203%, 59.4197%, 0, 1, [a, b]:1

============================== Top by Computation Time ==============================
node type, start, first, avg_ms, %, cdf%, mem KB, times called, name
CONV_2D, 0, 0.11, 0.0930388, 44.8994%, 44.8994%, 0, 1, [sequential_11/conv2d_33/Conv2D]:0
"""


def test_times_by_operator_are_those_of_the_regular_runs(tool: BenchmarkModel) -> None:
    rows = tool.layers(WITH_START, PROFILED)
    assert [(row.op, row.name) for row in rows] == [
        ("CONV_2D", "[sequential_11/conv2d_33/Conv2D]:0"),
        ("Convolution (NHWC, QC8) IGEMM", "[a, b]:1"),
    ]
    assert [row.us for row in rows] == pytest.approx([93.0388, 30.0884])
    newer = WITH_START.replace("start, ", "").replace("CONV_2D, 0,", "CONV_2D,").replace("0.0931277, ", "")
    assert tool.layers(newer, PROFILED) == rows
    assert tool.layers("", PROFILED) == ()
    with pytest.raises(DeviceError, match="much"):
        tool.layers(WITH_START.replace("0.0930388", "much"), PROFILED)
