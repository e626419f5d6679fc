"""The command line: parse, call one function of the API, print."""

from __future__ import annotations

from edgekit.cli.app import App
from edgekit.cli.convert import convert
from edgekit.cli.cost import cost
from edgekit.cli.debug import debug
from edgekit.cli.describe import describe
from edgekit.cli.drift import drift
from edgekit.cli.estimate import estimate
from edgekit.cli.export import export
from edgekit.cli.gate import gate
from edgekit.cli.listings import devices, doctor, targets
from edgekit.cli.models import calibrate, check, inspect, verify
from edgekit.cli.package import package, pull, push
from edgekit.cli.profile import profile
from edgekit.cli.report import report
from edgekit.cli.sign import sign
from edgekit.cli.sweep import sweep

main = App(
    "edgekit",
    commands=[
        convert,
        sweep,
        export,
        inspect,
        estimate,
        check,
        calibrate,
        verify,
        debug,
        profile,
        report,
        gate,
        cost,
        sign,
        describe,
        package,
        push,
        pull,
        drift,
        targets,
        devices,
        doctor,
    ],
    help="One model in, every edge device out, proven on your machine before it touches a phone.",
    epilog="Exit codes: 0 done, 1 refused or gate failed, 2 wrong usage.",
)
