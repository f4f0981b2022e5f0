"""nginx bare, with what an MCP server needs (no buffering, HTTP/1.1, a keep-alive pool) and nothing else."""

from __future__ import annotations

import os
import shutil
import subprocess

from benchmarks.peers.ground import PATH, Bare, Ground, PeerMissing

_NGINX = """
daemon off;
{user}
worker_processes 1;
worker_rlimit_nofile {descriptors};
pid {folder}/nginx.pid;
error_log {folder}/error.log warn;
events {{ worker_connections {descriptors}; }}
http {{
    access_log off;
    client_body_temp_path {folder}/body; proxy_temp_path {folder}/proxy; fastcgi_temp_path {folder}/fastcgi;
    uwsgi_temp_path {folder}/uwsgi; scgi_temp_path {folder}/scgi;
    client_max_body_size 0;
    keepalive_timeout 1h; keepalive_requests 1000000000;
    upstream mcp {{
        server 127.0.0.1:{upstream_port};
        keepalive 64; keepalive_timeout 1h; keepalive_requests 1000000000;
    }}
    server {{
        listen 127.0.0.1:{port} backlog=4096;
        location {path}/ {{
            proxy_pass http://mcp/;
            proxy_http_version 1.1;
            proxy_set_header Connection "";
            proxy_set_header X-Forwarded-For $remote_addr;
            proxy_buffering off; proxy_request_buffering off;
            proxy_read_timeout 1h; proxy_send_timeout 1h;
        }}
    }}
}}
"""


class Nginx(Bare):
    """nginx from the search path: one worker, no access log."""

    name = "nginx"

    def command(self, ground: Ground) -> list[str]:
        """
        Write nginx.conf.

        :raises PeerMissing: if there is no nginx.
        """
        program = _program()
        # A worker started by root becomes `nobody`, who may not write into the folder of this run.
        user = "user root;" if os.geteuid() == 0 else ""
        config = ground.folder / "nginx.conf"
        config.write_text(_NGINX.format(**vars(ground), user=user, path=PATH))
        return [program, "-p", f"{ground.folder}", "-e", f"{ground.folder}/error.log", "-c", f"{config}"]

    def version(self) -> str:
        """
        Ask the program.

        :raises PeerMissing: if there is no nginx.
        """
        told = subprocess.run([_program(), "-v"], check=True, capture_output=True, text=True)
        return version_told(told.stderr)


def version_told(text: str) -> str:
    """Read what ``nginx -v`` prints: ``nginx version: nginx/1.22.1``."""
    return f"nginx {text.rpartition('/')[2].strip()}"


def _program() -> str:
    program = shutil.which("nginx") or shutil.which("nginx", path="/usr/sbin:/usr/local/sbin")
    if program is None:
        raise PeerMissing("nginx is not on the search path: apt-get install nginx-light")
    return program
