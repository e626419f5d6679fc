"""What a monitor saw as the text format that Prometheus's node-exporter collects from files.

https://prometheus.io/docs/instrumenting/exposition_formats/; no timestamps, which the textfile collector refuses.
This file runs on the device: standard library and numpy, Python 3.8.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, List

if TYPE_CHECKING:
    from .monitor import Monitor
    from .timing import Timing

_QUANTILES = (0.01, 0.1, 0.5, 0.9, 0.99)


def render(monitor: Monitor) -> str:
    """The whole text, one metric family after another."""
    labels = {"bundle": monitor.bundle_digest[:12], "component": monitor.component, "variant": monitor.variant}
    lines = _timing("edgekit_inference_latency_seconds", "Time of one inference.", monitor.latency, labels)
    if monitor.energy.count:
        name = "edgekit_inference_energy_joules"
        lines += _timing(name, "Energy of one inference.", monitor.energy, labels)
    lines += _family("edgekit_monitor_seconds_total", "counter", "Time that watching took.")
    lines.append(_line("edgekit_monitor_seconds_total", labels, monitor.spent_s))
    lines += _family("edgekit_sketched_inferences_total", "counter", "Inferences whose tensors were sketched.")
    lines.append(_line("edgekit_sketched_inferences_total", labels, monitor.sketched))
    return "\n".join(lines + _tensors(monitor, labels)) + "\n"


def _timing(name: str, title: str, timing: Timing, labels: Any) -> List[str]:
    lines, below = _family(name, "histogram", title), 0
    for bound, count in zip(timing.bounds, timing.counts):
        below += count
        lines.append(_line(name + "_bucket", dict(labels, le=repr(bound)), below))
    lines.append(_line(name + "_bucket", dict(labels, le="+Inf"), timing.count))
    lines.append(_line(name + "_sum", labels, timing.total))
    lines.append(_line(name + "_count", labels, timing.count))
    return lines


def _tensors(monitor: Monitor, labels: Any) -> List[str]:
    quantiles = _family("edgekit_tensor_quantile", "gauge", "Quantiles of a tensor's numbers since the start.")
    odd = _family("edgekit_tensor_nonfinite_total", "counter", "Sketched numbers that were NaN or infinite.")
    for side, called in (("inputs", "input"), ("outputs", "output"), ("inner", "inner")):
        for tensor, sketch in sorted(monitor.sketches(side).items()):
            here = dict(labels, side=called, tensor=tensor)
            odd.append(_line("edgekit_tensor_nonfinite_total", here, sketch.nonfinite))
            if sketch.count:
                for share in _QUANTILES:
                    value = sketch.quantile(share)
                    quantiles.append(_line("edgekit_tensor_quantile", dict(here, quantile=repr(share)), value))
    return quantiles + odd


def _family(name: str, kind: str, title: str) -> List[str]:
    return ["# HELP %s %s" % (name, title), "# TYPE %s %s" % (name, kind)]


def _line(name: str, labels: Any, value: float) -> str:
    told = ",".join('%s="%s"' % (key, _escape(str(one))) for key, one in sorted(labels.items()))
    return "%s{%s} %r" % (name, told, value)


def _escape(text: str) -> str:
    return text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
