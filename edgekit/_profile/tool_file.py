"""The benchmark tool's own file: one that the device runs not, or for nothing, is told before it is tried."""

from __future__ import annotations

from typing import TYPE_CHECKING

from edgekit.errors import UsageError
from edgekit.profiles.probes.transport import DeviceError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from edgekit._device_tool import DeviceTool

# ELF's e_machine -> what `uname -m` calls processors that run it (System V ABI, sh. "ELF header").
_MACHINES = {
    3: ("i386", "i686", "x86_64"),
    40: ("armv7l", "armv8l"),
    62: ("x86_64",),
    183: ("aarch64", "arm64"),
    243: ("riscv64",),
}
_MAGIC = b"\x7fELF"


def read_machine(path: Path) -> tuple[str, ...] | None:
    """What machines a program is for; None for a script. UsageError where it is no program or unreadable."""
    try:
        with path.open("rb") as file:
            head = file.read(20)
    except OSError as error:
        raise UsageError(
            f"tool '{path}' cannot be read ({error.strerror})", fix="name its file here"
        ) from error
    if head[:2] == b"#!":
        return None
    if head[:4] != _MAGIC or len(head) < 20:
        raise UsageError(f"tool '{path}' is no Linux or Android program", fix="download it again")
    return _MACHINES.get(int.from_bytes(head[18:20], "little"), ())


def refuse_other_machine(path: Path, facts: Mapping[str, str]) -> None:
    """DeviceError where the device's processor does not run the program."""
    wanted, machine = read_machine(path), facts.get("machine")
    if wanted is None or machine is None or machine in wanted:
        return
    made_for = " or ".join(wanted) or "a processor edgekit does not know"
    raise DeviceError(
        f"tool '{path.name}' is made for {made_for}, and the device is {machine}",
        fix=f"take the one for {facts.get('abi', machine)}",
    )


def refuse_foreign_times(tools: Sequence[DeviceTool], facts: Mapping[str, str]) -> None:
    """DeviceError where a tool's times would be nobody's: on a machine that emulates the real one."""
    machine = facts.get("machine", "")
    tool = next((one for one in tools if one.machines and machine and machine not in one.machines), None)
    if tool is not None:
        raise DeviceError(f"this {machine} machine {tool.elsewhere}", fix="profile on the device itself")
