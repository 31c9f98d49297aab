"""`network_policies` and `network_middlewares`: what OpenShell's proxy lets through, validated in shape, and kept."""

from typing import Annotated

from pydantic import Field, JsonValue

from openshell_kernel.policy.blocks.block import UnenforcedBlock
from openshell_kernel.policy.blocks.kinds import ListOf, MappingOf, NotNull

_Port = Annotated[int, Field(ge=0, le=65535)]
_U32 = Annotated[int, Field(ge=0, le=2**32 - 1)]
_I32 = Annotated[int, Field(ge=-(2**31), le=2**31 - 1)]


class NetworkEndpoint(UnenforcedBlock):
    """A host that OpenShell's proxy lets through: validated in shape, and kept. This package has no proxy."""

    host: str = ""
    path: str = ""
    port: _Port = 0
    ports: ListOf[_Port] = ()
    protocol: str = ""
    tls: str = ""
    enforcement: str = ""
    access: str = ""
    rules: ListOf[JsonValue] = ()
    deny_rules: ListOf[JsonValue] = ()
    allowed_ips: ListOf[str] = ()
    allow_encoded_slash: bool = False
    websocket_credential_rewrite: bool = False
    request_body_credential_rewrite: bool = False
    allow_uninspected_credentials: bool = False
    persisted_queries: str = ""
    graphql_persisted_queries: MappingOf[str, JsonValue] = Field(default_factory=dict)
    graphql_max_body_bytes: _U32 = 0
    credential_signing: str = ""
    signing_service: str = ""
    signing_region: str = ""
    credential_binding: MappingOf[str, JsonValue] = Field(default_factory=dict)
    json_rpc: MappingOf[str, JsonValue] = Field(default_factory=dict)
    mcp: MappingOf[str, JsonValue] = Field(default_factory=dict)


class NetworkBinary(UnenforcedBlock):
    """A program that may use a network policy's endpoints. `path` may hold a glob and is kept as it is."""

    path: str
    harness: bool = False
    """Ignored by OpenShell, which accepts it for the sake of old files."""


class NetworkPolicy(UnenforcedBlock):
    """Endpoints, and the programs that may reach them."""

    name: str = ""
    endpoints: ListOf[NetworkEndpoint] = ()
    binaries: ListOf[NetworkBinary] = ()


class MiddlewareEndpoints(UnenforcedBlock):
    """The hosts that a middleware sees."""

    include: ListOf[str] = ()
    exclude: ListOf[str] = ()


class NetworkMiddleware(UnenforcedBlock):
    """A filter of OpenShell's proxy. What stands under `config` belongs to the filter."""

    name: str = ""
    middleware: str = ""
    order: _I32 = 0
    config: MappingOf[str, JsonValue] = Field(default_factory=dict)
    on_error: str = ""
    endpoints: NotNull[MiddlewareEndpoints] = None
