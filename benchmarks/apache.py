"""Apache with mod_dav over a directory of its own: what a file server written in C makes of the same requests on the same disk.

As quick as its configuration makes it: event MPM, sendfile, connections kept open without a limit on requests, nothing looked
up, no access files, no log of requests and no login. Its processes end with it.
"""

import os
import pwd
import shutil
import signal
import socket
import subprocess
import time
from pathlib import Path

MODULES = Path("/usr/lib/apache2/modules")
START_S = 10.0
_USER = "www-data"
_CONFIGURATION = """\
ServerRoot {root}
ServerName localhost
Listen 127.0.0.1:{port}
PidFile {root}/pid
Mutex file:{root}
ErrorLog {root}/error.log
LogLevel error
{modules}
{user}
StartServers 2
ThreadsPerChild 64
MaxRequestWorkers 512
ServerLimit 8
Timeout 60
KeepAlive On
MaxKeepAliveRequests 0
KeepAliveTimeout 60
EnableSendfile On
EnableMMAP On
HostnameLookups Off
LimitXMLRequestBody 1048576
TypesConfig /etc/mime.types
DavLockDB {root}/locks
DocumentRoot {files}
<Directory {files}>
  Require all granted
  AllowOverride None
  Options None
  Dav On
  DavMinTimeout 600
</Directory>
"""
_LOADED = ("mpm_event", "authz_core", "mime", "dav", "dav_fs")


def program() -> str | None:
    """Where Apache is, with what it needs for WebDAV; None where it is not installed."""
    found = shutil.which("apache2", path=f"{os.environ.get('PATH', '')}:/usr/sbin")
    return found if found and all((MODULES / f"mod_{name}.so").exists() for name in _LOADED) else None


class Apache:
    """A context manager; ``files`` is the directory that it serves at ``/``."""

    def __init__(self, scratch: Path) -> None:
        self._root = scratch / "apache"
        self.files = self._root / "files"
        self.address = ("127.0.0.1", 0)
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> "Apache":
        self.files.mkdir(parents=True)
        self.address = ("127.0.0.1", _free_port())
        named = "\n".join(f"LoadModule {name}_module {MODULES}/mod_{name}.so" for name in _LOADED)
        user = f"User {_USER}\nGroup {_USER}" if os.geteuid() == 0 else ""
        text = _CONFIGURATION.format(root=self._root, files=self.files, port=self.address[1], modules=named, user=user)
        configuration = self._root / "apache.conf"
        configuration.write_text(text)
        self.own()
        command = [program() or "apache2", "-f", str(configuration), "-D", "FOREGROUND"]
        self._process = subprocess.Popen(command, stdin=subprocess.DEVNULL, start_new_session=True)
        try:
            self._wait()
        except BaseException:
            self.end()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self.end()

    def own(self) -> None:
        """Let its user write what is there: as root it serves as another one."""
        if os.geteuid() != 0:
            return
        user = pwd.getpwnam(_USER)
        self._root.parent.chmod(0o711)
        for place in (self._root, self.files, *self.files.rglob("*")):
            os.chown(place, user.pw_uid, user.pw_gid)

    def _wait(self) -> None:
        end = time.monotonic() + START_S
        while time.monotonic() < end and self._process is not None and self._process.poll() is None:
            try:
                socket.create_connection(self.address, 1).close()
                return
            except OSError:
                time.sleep(0.02)
        log = self._root / "error.log"
        raise RuntimeError(f"apache2 does not answer: {log.read_text() if log.exists() else 'it said nothing'}")

    def end(self) -> None:
        """End it with its processes."""
        process, self._process = self._process, None
        if process is None or process.poll() is not None:
            return
        process.terminate()
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port: int = listener.getsockname()[1]
        return port
