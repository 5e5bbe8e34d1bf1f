"""Refusals of the API, each as the provider words it: a status, a code and a message (OpenAPI 2026-09)."""

from __future__ import annotations


class ApiError(Exception):
    """A request that is refused; becomes the JSON body `{"code", "message"}`."""

    def __init__(self, status: int, code: str, message: str) -> None:
        super().__init__(message)
        self.status = status
        self.code = code
        self.message = message


class StorageError(Exception):
    """A presigned request that the storage refuses; becomes XML, as object storage answers."""

    def __init__(self, status: int, code: str, message: str) -> None:
        super().__init__(message)
        self.status = status
        self.code = code
        self.message = message


def invalid_request(message: str) -> ApiError:
    """400: the body does not have the documented shape; the message names the field."""
    return ApiError(400, "invalid_request", message)


def unprocessable(message: str) -> ApiError:
    """422: the shape is right and the request still cannot be carried out."""
    return ApiError(422, "unprocessable_entity", message)


def not_found(message: str = "Not Found") -> ApiError:
    """404: no such route, or no such project in this account."""
    return ApiError(404, "not_found", message)


def unauthorized() -> ApiError:
    """401: the bearer is missing or is not the sandbox's key."""
    return ApiError(401, "unauthorized", "Unauthorized")


def insufficient_credits(*, needed: int, balance: int) -> ApiError:
    """402: the balance does not cover what would be held."""
    return ApiError(
        402, "insufficient_credits", f"Insufficient credits: {needed} needed, {balance} available. Please add credits."
    )


def plan_upgrade_required(message: str) -> ApiError:
    """402: the tier does not include what was asked (code of OpenAPI 2026-09; the quick start says 403)."""
    return ApiError(402, "plan_upgrade_required", message)


def expired() -> StorageError:
    """403: a presigned address that is over."""
    return StorageError(403, "AccessDenied", "Request has expired")
