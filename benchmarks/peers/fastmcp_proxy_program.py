"""The proxy as fastmcp's documentation has it: PORT PATH URL of the server. It runs in fastmcp's own environment."""

import sys

from fastmcp.server import create_proxy  # type: ignore[import-not-found]


def main() -> None:
    """Serve until ended. Without the banner, which asks the package index for a newer version."""
    port, path, url = sys.argv[1:]
    proxy = create_proxy(url, name="bench")
    settings = {"log_level": "warning", "access_log": False}
    proxy.run("http", show_banner=False, host="127.0.0.1", port=int(port), path=path, uvicorn_config=settings)


if __name__ == "__main__":
    main()
