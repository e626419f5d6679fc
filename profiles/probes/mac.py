"""The transport `mac://user@host`: ssh to a Mac, where Core ML itself runs a bundle's packages."""

from __future__ import annotations

from edgekit.errors import UsageError
from edgekit.profiles.probes.ssh import SshTransport
from edgekit.profiles.probes.transport import DeviceError


class MacTransport(SshTransport):
    """As ssh, but sure that a Mac answers, so that no figure of another machine is taken for one."""

    def __init__(self, address: str, *, keep: str = "") -> None:
        try:
            super().__init__(address, keep=keep)
        except UsageError as error:
            raise UsageError(
                f"'mac://{address}' is no user, host and port", fix="write --on mac://user@host[:port]"
            ) from error
        self.label = f"mac://{address}"

    def open(self) -> None:
        """Connect, and see that it is a Mac."""
        super().open()
        system = self.ask(["uname", "-s"]).decode("utf-8", "replace").strip()
        if system != "Darwin":
            self.close()
            raise DeviceError(
                f"{self.label} is no Mac but {system[:40]}",
                fix=f"write ssh://{self.label.partition('://')[2]}",
            )
