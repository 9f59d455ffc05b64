"""flight as a service of systemd: the unit for a command line, and its installation and removal.

The unit is `swath-flight.service`, the template beside this file, with the command line of this machine put in. What is
changed with `systemctl edit` lies in a directory of its own and outlives a new installation.
"""

from __future__ import annotations

import argparse
import difflib
import grp
import os
import pwd
import re
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from importlib import resources
from pathlib import Path

import flight

NAME = "swath-flight.service"
UNITS = Path("etc/systemd/system")
MARK = "# Written by `swath-flight install-service`; `swath-flight uninstall-service` removes it.\n"
STATE_ROOT = Path("/var/lib")
HOMES = (Path("/home"), Path("/root"), Path("/run/user"))
_LOCAL = ("ipc:", "inproc:")


class ServiceError(ValueError):
    """A service cannot be made, installed or removed; the message says why, and what to do."""


def template() -> str:
    """The unit as it comes: for `swath-flight run` with everything at its usual place."""
    return resources.files("flight").joinpath(NAME).read_text(encoding="utf-8")


def with_settings(settings: Mapping[str, str | None]) -> str:
    """The template with other values for `settings`, each of which it has once; None takes the setting out."""
    text = template()
    for name, value in settings.items():
        found = re.findall(rf"^{name}=(?:.*\\\n)*.*\n", text, flags=re.M)
        if len(found) != 1:
            raise AssertionError(f"the template has {name}= {len(found)} times")
        text = text.replace(found[0], "" if value is None else f"{name}={value}\n")
    return text


@dataclass(frozen=True)
class Service:
    """What is to run: the arguments of swath-flight, with the places and endpoints among them, and as whom."""

    arguments: Sequence[str]
    paths: Sequence[tuple[str, Path]] = ()
    endpoints: Sequence[str] = ()
    user: str = "swath"
    group: str = "swath"

    @staticmethod
    def of(options: argparse.Namespace, user: str | None = None) -> Service:
        """The service that runs the command that was parsed into `options`; checks what they name.

        Runs as `user`, by default as the owner of the keys. ServiceError if a file is missing, or could not be read.
        """
        arguments, paths, endpoints = [options.command], list[tuple[str, Path]](), list[str]()
        for key, given in vars(options).items():
            name = f"--{key.replace('_', '-')}"
            for value in given if isinstance(given, list) else [given]:
                if key == "command" or value is None or value is False:
                    continue
                arguments.append(name)
                if isinstance(value, Path):
                    paths.append((name, value.absolute()))
                elif isinstance(value, str) and "://" in value:
                    endpoints.append(value)
                if value is not True:
                    arguments.append(str(value.absolute() if isinstance(value, Path) else value))
        owner = _account(user, dict(paths)["--keys"])
        service = Service(arguments, paths, endpoints, owner.pw_name, grp.getgrgid(owner.pw_gid).gr_name)
        service._check(owner.pw_uid)
        return service

    def _check(self, uid: int) -> None:
        for name, path in self.paths:
            if not path.exists() and not (name == "--state" and self._state_directory):
                mend = f": sudo install -d -m 700 -o {self.user} {path}" if name == "--state" else ""
                raise ServiceError(f"{name} {path}: does not exist{mend}")
        for path in _secrets(self._path("--keys")):
            if path.stat().st_uid != uid:
                raise ServiceError(
                    f"{path}: {self.user} could not read it; sudo chown -R {self.user} {self._path('--keys')}"
                )
        state = self._path("--state")
        if state.exists() and state.stat().st_uid != uid:
            raise ServiceError(f"--state {state}: belongs to somebody else; sudo chown -R {self.user} {state}")

    def _path(self, name: str) -> Path:
        return dict(self.paths)[name]

    @property
    def _state_directory(self) -> str:
        """The state directory below /var/lib, which systemd makes; empty if it lies elsewhere."""
        state = self._path("--state")
        return str(state.relative_to(STATE_ROOT)) if STATE_ROOT in state.parents else ""

    def unit(self) -> str:
        """The text of the unit."""
        listens = self.arguments[0] == "listen"
        settings: dict[str, str | None] = {
            "ExecStart": " ".join(map(_quoted, [sys.executable, "-m", "flight.cli", *self.arguments])),
            "User": self.user,
            "Group": self.group,
        }
        if not self._state_directory:
            settings |= {"StateDirectory": None, "StateDirectoryMode": None}
            settings["ProtectSystem"] = f"strict\nReadWritePaths={_quoted(str(self._path('--state')))}"
        else:
            settings["StateDirectory"] = _quoted(self._state_directory)
        code = (Path(sys.executable), Path(sys.prefix), Path(flight.__file__))
        if any(home in path.parents for path in (*dict(self.paths).values(), *code) for home in HOMES):
            settings["ProtectHome"] = "read-only"
        if listens or not all(endpoint.startswith(_LOCAL) for endpoint in self.endpoints):
            settings |= {"PrivateNetwork": None, "RestrictAddressFamilies": "AF_UNIX AF_NETLINK AF_INET AF_INET6"}
        if listens:  # on a desk: no supervisor speaks to systemd, and a board that is played with is not rebooted
            settings |= {"Type": "exec", "StartLimitAction": None, "WatchdogSec": None, "NotifyAccess": None}
            settings["Description"] = "swath flight segment, for missions that a desk flies"
        return MARK + re.sub(r"^#.*\n", "", with_settings(settings), flags=re.M)


@dataclass(frozen=True)
class System:
    """The machine: where its files are, who asks, and how systemctl is called. Tests give others."""

    root: Path = Path("/")
    uid: int = field(default_factory=os.geteuid)
    call: Callable[[list[str]], subprocess.CompletedProcess[str]] = lambda command: subprocess.run(
        command, capture_output=True, text=True, check=False
    )

    @property
    def unit(self) -> Path:
        """The place of the unit."""
        return self.root / UNITS / NAME

    def check(self) -> None:
        """ServiceError unless units can be installed here, by this user."""
        if not (self.root / "run/systemd/system").is_dir():
            raise ServiceError("systemd does not run this machine: start `swath-flight run` or `listen` by what does")
        if self.uid != 0:
            raise ServiceError("this takes root: sudo with the same command (--dry-run shows what it does)")

    def systemctl(self, *arguments: str) -> None:
        """Call systemctl; ServiceError with what it says if it fails."""
        done = self.call(["systemctl", *arguments])
        if done.returncode:
            said = (done.stderr or done.stdout).strip() or f"exit code {done.returncode}"
            raise ServiceError(f"systemctl {' '.join(arguments)}: {said}")


def install(service: Service, system: System, *, replace: bool = False, start: bool = True) -> str:
    """Write the unit, enable it, start it if `start`; what was done. The same again changes nothing.

    ServiceError, and everything as it was, if it cannot be written and enabled, or if there is another unit and not
    `replace`. One that is enabled but does not start stays, and the error says where its log is.
    """
    system.check()
    text, before = service.unit(), _text(system.unit)
    if before is not None and before != text and not replace:
        raise ServiceError(
            f"{system.unit}: there is another one; --replace puts this one in its place:\n{_difference(before, text)}"
        )
    if before != text:
        _write(system.unit, text)
    try:
        system.systemctl("daemon-reload")
        system.systemctl("enable", NAME)
    except ServiceError:
        _restore(system, before)
        raise
    if start:
        try:  # what runs goes on if nothing has changed
            system.systemctl("start" if before == text else "restart", NAME)
        except ServiceError as error:
            raise ServiceError(
                f"{error}\nThe unit is installed and enabled, but does not run: journalctl -u swath-flight says why"
            ) from error
    done = "was installed already" if before == text else "installed"
    return f"{system.unit}: {done}, enabled{' and started' if start else ''}; runs as {service.user}"


def uninstall(system: System) -> str:
    """Stop and disable the service, and remove its unit; what was done. State, keys and drop-ins stay.

    ServiceError if the unit is not one that `install` wrote, or if systemctl fails; then it is still there.
    """
    system.check()
    before = _text(system.unit)
    if before is None:
        return f"{system.unit}: is not there; nothing to remove"
    if not before.startswith(MARK):
        raise ServiceError(
            f"{system.unit}: was not written by install-service; systemctl disable and rm, if you mean it"
        )
    system.systemctl("disable", "--now", NAME)
    system.unit.unlink()
    system.systemctl("daemon-reload")
    return f"{system.unit}: stopped, disabled and removed; state and keys are where they were"


def commands(start: bool = True) -> list[str]:
    """What `install` calls, for people."""
    return [
        f"systemctl {what}" for what in ("daemon-reload", f"enable {NAME}", *([f"restart {NAME}"] if start else []))
    ]


def _account(name: str | None, keys: Path) -> pwd.struct_passwd:
    """The account of `name`, else of the owner of `keys`; ServiceError if there is none, or it is root's."""
    if not keys.exists():
        raise ServiceError(f"--keys {keys}: does not exist")
    try:
        account = pwd.getpwnam(name) if name is not None else pwd.getpwuid(keys.stat().st_uid)
    except KeyError as error:
        who = f"no account {name!r}" if name else f"{keys} belongs to no account"
        raise ServiceError(f"{who}: sudo useradd --system --no-create-home {name or 'swath'}") from error
    if account.pw_uid == 0:
        raise ServiceError(
            f"flight is not run as root, and {keys} belongs to root: sudo chown -R USER {keys}, or name one with --as"
        )
    return account


def _secrets(keys: Path) -> Iterator[Path]:
    """What only the service may read: the key file, or those of a directory of keys."""
    yield from (path for path in sorted(keys.iterdir()) if path.is_file()) if keys.is_dir() else (keys,)


def _quoted(word: str) -> str:
    """A word of a command line in a unit (systemd.service(5), COMMAND LINES): specifiers and variables are escaped."""
    word = word.replace("\\", "\\\\").replace('"', '\\"').replace("%", "%%").replace("$", "$$")
    return f'"{word}"' if re.search(r"[\s\"'\\;]", word) or not word else word


def _text(path: Path) -> str | None:
    with suppress(FileNotFoundError):
        return path.read_text(encoding="utf-8", errors="replace")
    return None


def _write(path: Path, text: str) -> None:
    """Write whole, or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    new = path.with_name(f".{path.name}.new")
    try:
        with new.open("w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        new.chmod(0o644)
        new.replace(path)
    finally:
        new.unlink(missing_ok=True)


def _restore(system: System, before: str | None) -> None:
    """Put back what was there, as far as systemd still answers."""
    if before is None:
        with suppress(ServiceError):
            system.systemctl("disable", NAME)
        system.unit.unlink(missing_ok=True)
    else:
        _write(system.unit, before)
    with suppress(ServiceError):
        system.systemctl("daemon-reload")


def _difference(before: str, after: str) -> str:
    lines = difflib.unified_diff(before.splitlines(), after.splitlines(), "there", "this", lineterm="", n=0)
    return "\n".join(line for line in lines if not line.startswith("@@"))
