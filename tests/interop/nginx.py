"""A real nginx that passes requests on, and what it counted."""

from __future__ import annotations

from pathlib import Path

from topology import Host, Pod, until

PROGRAM = Path("/usr/sbin/nginx")
_CONFIG = """
daemon off;
user root;
worker_processes 1;
pid {folder}/pid;
error_log {folder}/error.log;
events {{ }}
http {{
    log_format counted '$status $request_uri';
    access_log {folder}/access.log counted;
    client_body_temp_path {folder}/client;
    proxy_temp_path {folder}/proxy;
    fastcgi_temp_path {folder}/fastcgi;
    uwsgi_temp_path {folder}/uwsgi;
    scgi_temp_path {folder}/scgi;
    server {{
        listen {port};
        client_max_body_size 0;
        location / {{
            proxy_pass {to};
            proxy_http_version 1.1;
            proxy_set_header Connection "";
        }}
    }}
}}
"""


class Nginx:
    """One on a host or in a pod, in front of ``to``."""

    def __init__(self, host: Host | Pod, port: int, to: str) -> None:
        folder = host.topology.folder / f"{host.name}-nginx"
        folder.mkdir()
        self._log = folder / "access.log"
        config = folder / "nginx.conf"
        config.write_text(_CONFIG.format(folder=folder, port=port, to=to))
        command = (PROGRAM, "-c", config, "-e", folder / "error.log")
        self.process = host.popen(*command) if isinstance(host, Pod) else host.popen("nginx", *command)
        until(lambda: f":{port} " in host.run("ss", "-Hltn").stdout, 20, "nginx to listen")

    def logged(self) -> list[tuple[int, str]]:
        """Status and target of each request."""
        lines = self._log.read_text().rpartition("\n")[0].splitlines()
        return [(int(status), target) for status, _, target in (line.partition(" ") for line in lines)]
