"""The API described by itself (OpenAPI), problem documents included."""

from __future__ import annotations

from typing import Any

from drf_spectacular.openapi import AutoSchema

from portal.api.problems import MEDIA_TYPE, ProblemSerializer


def problems(*statuses: int) -> dict[Any, Any]:
    """Responses for `extend_schema` beyond those that every address of the kind has."""
    return {(status, MEDIA_TYPE): ProblemSerializer for status in statuses}


class ProblemSchema(AutoSchema):
    """Adds to each operation the problems that any operation of its shape can answer with."""

    def _get_response_bodies(self, direction: Any = "response") -> dict[str, Any]:
        responses = super()._get_response_bodies(direction)
        for status in self._problem_statuses():
            if status not in responses:
                responses[status] = self._get_response_for_code(ProblemSerializer, status, [MEDIA_TYPE], direction)
        return dict(sorted(responses.items()))

    def _problem_statuses(self) -> list[str]:
        statuses = ["401", "403"]
        has_body = self.method in ("POST", "PATCH", "PUT")
        changes = has_body or self.method == "DELETE"
        if changes or self._is_list_view():
            statuses.append("400")
        # A list has no page 9,999.
        if has_body or self._is_list_view() or "{" in self.path:
            statuses.append("404")
        if changes:
            statuses.append("409")
        if has_body:
            statuses.append("415")
        return statuses
