"""Which compute unit Core ML means to use for each operation (MLComputePlan, macOS 14.4 and later)."""

UNITS = {
    "MLCPUComputeDevice": "cpu",
    "MLGPUComputeDevice": "gpu",
    "MLNeuralEngineComputeDevice": "neural-engine",
}
# Constants are no work; the plan has no device for them.
UNKNOWN = "unknown"


def count_operations(plan):
    """{unit: {"ops", "cost", "names"}} over every operation, nested blocks too.

    cost: the sum of Core ML's estimated shares of the work, 0..1. names: {operator: count}. Operations
    without a device (constants) are counted as `unknown`.
    """
    program = plan.model_structure.program
    if program is None:
        return {}
    found = {}
    for function in program.functions.values():
        for operation in _operations(function.block):
            usage = plan.get_compute_device_usage_for_mlprogram_operation(operation)
            unit = UNKNOWN if usage is None else name_device(usage.preferred_compute_device)
            cost = plan.get_estimated_cost_for_mlprogram_operation(operation)
            row = found.setdefault(unit, {"ops": 0, "cost": 0.0, "names": {}})
            row["ops"] += 1
            row["cost"] += 0.0 if cost is None else cost.weight
            row["names"][operation.operator_name] = row["names"].get(operation.operator_name, 0) + 1
    return found


def name_device(device):
    """cpu, gpu or neural-engine by the class of coremltools' device object."""
    return UNITS.get(type(device).__name__, UNKNOWN)


def _operations(block):
    for operation in block.operations:
        yield operation
        for inner in operation.blocks or ():
            yield from _operations(inner)
