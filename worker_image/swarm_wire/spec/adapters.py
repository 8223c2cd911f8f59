"""How a program's fields become a prompt: DSPy's adapters, with the parameters of each adapter."""

from pydantic import Field

from swarm_wire.spec.schema import Entrypoint, SpecModel, Union


class ChatAdapter(SpecModel):
    """dspy.ChatAdapter: fields under headings. DSPy uses this adapter if nothing names another."""

    use_native_function_calling: bool = Field(
        False, description="Send inputs of type dspy.Tool to the provider as tools."
    )
    use_json_adapter_fallback: bool = Field(
        True, description="Repeat the request for a JSON answer if an answer cannot be read."
    )
    parallel_tool_calls: bool | None = Field(
        None, description="Whether one answer may have several tool calls. The provider gets this parameter."
    )


class JSONAdapter(SpecModel):
    """dspy.JSONAdapter: the answer is one JSON object. If the provider accepts a JSON schema, the request has one."""

    use_native_function_calling: bool = Field(
        True, description="Send inputs of type dspy.Tool to the provider as tools."
    )
    parallel_tool_calls: bool | None = Field(
        None, description="Whether one answer may have several tool calls. The provider gets this parameter."
    )


class XMLAdapter(SpecModel):
    """dspy.XMLAdapter: fields as XML elements."""

    use_native_function_calling: bool = Field(
        False, description="Send inputs of type dspy.Tool to the provider as tools."
    )
    use_json_adapter_fallback: bool = Field(
        True, description="Repeat the request for a JSON answer if an answer cannot be read."
    )
    parallel_tool_calls: bool | None = Field(
        None, description="Whether one answer may have several tool calls. The provider gets this parameter."
    )


class TwoStepAdapter(SpecModel):
    """dspy.TwoStepAdapter: the model answers in free text, and models.extraction reads the fields out of this text."""

    use_native_function_calling: bool = Field(
        False, description="Send inputs of type dspy.Tool to the provider as tools."
    )
    parallel_tool_calls: bool | None = Field(
        None, description="Whether one answer may have several tool calls. The provider gets this parameter."
    )


class Adapter(Union):
    """How a program's fields become a prompt, and how an answer becomes fields: dspy.configure(adapter=...)."""

    chat: ChatAdapter | None = None
    json_: JSONAdapter | None = None
    xml: XMLAdapter | None = None
    two_step: TwoStepAdapter | None = None
    entrypoint: Entrypoint | None = Field(
        None,
        description='"module:attribute" of a dspy.Adapter, an Adapter class, or a function without arguments that '
        "returns an Adapter.",
    )
