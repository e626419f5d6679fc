"""What `inspect` prints: the model's face in a few lines, then its ops and its heaviest nodes."""

from __future__ import annotations

from typing import TYPE_CHECKING

from edgekit.reports.terminal import clean, count, shorten, size, table

if TYPE_CHECKING:
    from edgekit._inspect import ModelReport
    from edgekit._values import TensorInfo

NODES_SHOWN = 15
OPS_SHOWN = 20
NAME_WIDTH = 48


def render_model(report: ModelReport) -> str:
    """The report as text; the nodes with the most MACs come first, unknown ones before all."""
    opsets = ", ".join(f"{domain} {version}" for domain, version in report.opsets.items())
    face = [
        f"{report.path}: {size(report.file_bytes)}, sha256 {report.digest[:12]}",
        f"made by {report.producer}, IR {report.ir_version}, opset {opsets}",
        f"parameters {count(report.parameters)}, weights {size(report.weight_bytes)}",
        f"MACs {count(report.macs)}, peak activations {size(report.peak_activation_bytes)}",
    ]
    blocks = ["\n".join(clean(line) for line in face)]
    blocks.append(
        table(
            ("", "name", "dtype", "shape"),
            [_io_row("input", info) for info in report.inputs]
            + [_io_row("output", info) for info in report.outputs],
        )
    )
    ops = ", ".join(f"{op} {number}" for op, number in list(report.ops.items())[:OPS_SHOWN])
    more = f", and {len(report.ops) - OPS_SHOWN} more" if len(report.ops) > OPS_SHOWN else ""
    blocks.append(clean(f"ops ({sum(report.ops.values())} nodes): {ops}{more}"))
    blocks.append(_heaviest(report))
    blocks += ["\n".join(clean(f"note: {note}") for note in report.notes)] if report.notes else []
    return "\n\n".join(blocks)


def _heaviest(report: ModelReport) -> str:
    nodes = sorted(
        report.nodes, key=lambda node: (node.macs is not None, -(node.macs or 0), -node.weight_bytes)
    )
    rows = [
        (
            shorten(node.name, NAME_WIDTH),
            node.op,
            count(node.macs),
            count(node.params),
            size(node.weight_bytes),
            size(node.activation_bytes),
        )
        for node in nodes[:NODES_SHOWN]
    ]
    title = f"the {len(rows)} heaviest of {len(report.nodes)} nodes (after edgekit's passes; --json has all)"
    headers = ("node", "op", "MACs", "parameters", "weights", "output")
    return f"{title}\n{table(headers, rows, right=(2, 3, 4, 5))}"


def _io_row(kind: str, info: TensorInfo) -> tuple[str, ...]:
    dims = ",".join("?" if dim is None else str(dim) for dim in info.shape)
    return (kind, shorten(info.name, NAME_WIDTH), info.dtype, f"[{dims}]")
