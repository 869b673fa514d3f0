"""The low-level Docker client, whose silence is an error that a user can read. Slow to import."""

from __future__ import annotations

from typing import Any

import docker
import requests.exceptions

from cluster.runtime.base import RuntimeFailed


class Engine(docker.APIClient):
    """A client that says which request was not answered. One with a time-out of its own keeps its own error."""

    def send(self, request: Any, **settings: Any) -> Any:
        try:
            return super().send(request, **settings)
        except requests.exceptions.ReadTimeout as error:
            if settings.get("timeout") != self.timeout:
                raise
            raise RuntimeFailed(
                f"the Docker engine did not answer within {self.timeout:g} s ({request.method} {request.path_url}); "
                "is it overloaded, or stuck? docker ps shows whether it answers at all"
            ) from error
