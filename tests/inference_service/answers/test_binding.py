from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import pytest

from inference_service.answers.binding import Binding, Grammar, lark
from inference_service.answers.forced_calls import ForcedCall
from jan.errors import InvalidArgumentError


def closed(**properties: Any) -> dict[str, Any]:
    return {
        "type": "object",
        "properties": properties,
        "required": list(properties),
        "additionalProperties": False,
    }


def formatted(schema: Mapping[str, Any] | None, *, strict: bool | None = True) -> dict[str, Any]:
    asked = {"name": "x", "strict": strict, "schema": schema}
    told = {key: value for key, value in asked.items() if value is not None}
    return {"response_format": {"type": "json_schema", "json_schema": told}}


def tool(name: str, *, strict: bool | None = None, **parameters: Any) -> dict[str, Any]:
    return {"type": "function", "function": {"name": name, "strict": strict, "parameters": parameters}}


async def bound(request: Mapping[str, Any]) -> Grammar:
    binding = Binding.of(request, ForcedCall.of(request))
    assert binding is not None
    return await binding.grammar()


def takes(grammar: Grammar, text: str) -> bool:
    matcher = grammar.matcher()
    return bool(matcher.consume_tokens(list(text.encode()))) and matcher.is_accepting()


async def refused(request: Mapping[str, Any]) -> InvalidArgumentError:
    with pytest.raises(InvalidArgumentError) as caught:
        await bound(request)
    assert caught.value.code == "unsupported_schema"
    return caught.value


@pytest.mark.parametrize("request_", [{}, {"response_format": {"type": "text"}}, {"response_format": None}])
def test_a_free_answer_is_bound_to_nothing(request_: dict[str, Any]) -> None:
    assert Binding.of(request_, None) is None


TAKEN: list[tuple[dict[str, Any], list[str], list[str]]] = [
    ({"type": "number", "minimum": 1, "maximum": 5}, ["1", "4.5", "5.0"], ["0", "6", "5.1", "1000000000"]),
    ({"type": "number", "exclusiveMinimum": 0, "exclusiveMaximum": 1}, ["0.5"], ["0", "1", "0.0", "1.0"]),
    ({"type": "integer", "multipleOf": 10}, ["0", "10", "120"], ["1", "15"]),
    ({"type": "string", "pattern": r"^\d{3}$"}, ['"123"'], ['"x"', '"12"', '"1234"']),
    ({"type": "string", "pattern": r"^\w{3}$"}, ['"a_1"'], ['"x"', '"a-b"']),
    ({"type": "string", "pattern": r"^[A-Z]{2}\s[0-9]$"}, ['"AB 1"'], ['"AB1"']),
    ({"type": "string", "pattern": "[0-9]{3}"}, ['"a123b"'], ['"x"']),
    ({"type": "string", "pattern": "^[0-9]{3}"}, ['"123b"'], ['"a123"']),
    ({"type": "string", "pattern": "^[^@]{3}$"}, ['"abc"', '"a\\"b"'], ['"a@b"', '"a"b"']),
    ({"type": "string", "pattern": "^[^@]+@[^@]+$"}, ['"a@b"'], ['"ab"', '"a@b","b":"c"']),
    ({"type": "string", "format": "email"}, ['"a@b.org"'], ['"x"']),
    ({"type": "string", "format": "ipv4"}, ['"127.0.0.1"'], ['"x"', '"1.2.3.400"']),
    ({"type": "string", "format": "hostname"}, ['"a.org"'], ['"a b"']),
    ({"type": "string", "format": "duration"}, ['"P1DT2H"'], ['"x"']),
    ({"type": "string", "minLength": 2, "maxLength": 3}, ['"äö"'], ['"a"', '"abcd"']),
    (
        {"type": "array", "items": {"type": "integer"}, "minItems": 1, "maxItems": 2},
        ["[1]", "[1,2]"],
        ["[]", "[1,2,3]"],
    ),
    ({"type": ["string", "null"]}, ['"x"', "null"], ["1"]),
    ({"enum": ["a", 1, None]}, ['"a"', "1", "null"], ['"b"']),
    ({"const": {"a": [1]}}, ['{"a":[1]}'], ['{"a":[2]}', '{"a": [1]}']),
    ({"anyOf": [{"type": "boolean"}, {"type": "integer", "minimum": 7}]}, ["true", "8"], ["6"]),
    ({"minimum": 3, "maxLength": 1}, ["3", '"x"', "null"], ["2", '"xy"']),
]


@pytest.mark.parametrize(("schema", "good", "bad"), TAKEN, ids=lambda value: json.dumps(value)[:60])
async def test_all_that_a_strict_schema_says_binds(schema: dict[str, Any], good: list[str], bad: list[str]) -> None:
    grammar = await bound(formatted(closed(a=schema)))
    assert [text for text in good if not takes(grammar, f'{{"a":{text}}}')] == []
    assert [text for text in bad if takes(grammar, f'{{"a":{text}}}')] == []


async def test_a_schema_may_refer_to_itself() -> None:
    schema = closed(v={"enum": ["a"]}, next={"anyOf": [{"$ref": "#"}, {"type": "null"}]})
    grammar = await bound(formatted(schema))
    assert takes(grammar, '{"v":"a","next":{"v":"a","next":null}}')
    assert not takes(grammar, '{"v":"a","next":{"v":"b","next":null}}')


async def test_there_is_no_free_whitespace_whatever_the_client_says() -> None:
    grammar = await bound(formatted({**closed(a={"type": "null"}), "x-guidance": {"whitespace_flexible": True}}))
    assert takes(grammar, '{"a":null}')
    assert not takes(grammar, '{"a": null}')


REFUSED: list[tuple[dict[str, Any], str]] = [
    ({"type": "array", "items": {"type": "string"}, "uniqueItems": True}, "keyword 'uniqueItems' at properties.a is"),
    ({"type": "string", "format": "uri"}, "format 'uri' at properties.a is not supported"),
    ({"type": "string", "pattern": "^(?=a)[a-z]$"}, r"pattern '\^\(\?=a\)\[a-z\]\$' at properties.a is"),
    ({"type": "string", "pattern": r"^(a)\1$"}, "at properties.a is not supported: no look-arounds, back-references"),
    ({"type": "string", "pattern": "^+a("}, "the pattern"),
    ({"type": "integer", "minimum": 3, "maximum": 2}, "nothing can satisfy it"),
    ({"type": "bogus"}, "Invalid type: bogus"),
    ({"type": "integer", "multipleOf": 10, "maximum": -1}, "nothing can satisfy it at properties.a"),
    ({"$ref": "#"}, "nothing can end what it asks for at properties.a, as each must hold"),
    (
        {"type": "array", "items": {"$ref": "#"}, "minItems": 1},
        "nothing can end what it asks for at properties.a.items,",
    ),
    ({"type": "number", "exclusiveMinimum": 0, "maximum": 0.5}, "bounds less than 1 apart at properties.a"),
    ({"maximum": 0.5, "anyOf": [{"type": "number", "exclusiveMinimum": 0}]}, "bounds beside a reference or a choice"),
    ({"type": "string", "pattern": "^[[:alpha:]]{3}$"}, "another meaning in JavaScript"),
    ({"type": "string", "pattern": "^[a-z&&[^b]]{2}$"}, "another meaning in JavaScript"),
    ({"type": "string", "pattern": "(?i)a"}, "another meaning in JavaScript"),
]


@pytest.mark.parametrize(("schema", "told"), REFUSED, ids=lambda value: json.dumps(value)[:60])
async def test_what_of_a_strict_schema_does_not_bind_is_named(schema: dict[str, Any], told: str) -> None:
    refusal = await refused(formatted(closed(a=schema)))
    assert refusal.param == "response_format"
    with pytest.raises(InvalidArgumentError, match=told):
        raise refusal


LOOP = {"$defs": {"n": closed(n={"$ref": "#/$defs/n"})}, **closed(x={"type": "string"}, a={"$ref": "#/$defs/n"})}


@pytest.mark.parametrize("strict", [True, None])
async def test_a_part_that_can_never_end_is_named_wherever_it_is(strict: bool | None) -> None:
    refusal = await refused(formatted(LOOP, strict=strict))
    assert refusal.message.startswith(
        "No answer can be bound to this schema: nothing can end what it asks for at $defs.n.properties.n,"
    )
    may_be_left_out = {**LOOP, "required": ["x"]}
    assert "$defs.n.properties.n" in (await refused(formatted(may_be_left_out, strict=None))).message
    nobody_asks_for_it = {**LOOP, "properties": {"x": {"type": "string"}}, "required": ["x"]}
    assert takes(await bound(formatted(nobody_asks_for_it, strict=strict)), '{"x":""}')


async def test_a_function_that_can_never_be_called_is_named_by_its_place() -> None:
    tools = [tool("f", **closed(a={"type": "null"})), tool("g", **closed(a={"$ref": "#"}))]
    assert (await refused({"tools": tools, "tool_choice": "required"})).param == "tools[1].function.parameters"


async def test_a_function_that_nothing_binds_is_named_by_its_place() -> None:
    tools = [tool("f", **closed(a={"type": "null"})), tool("g", **closed(a={"type": "nothing"}))]
    refusal = await refused({"tools": tools, "tool_choice": "required"})
    assert (refusal.param, "Invalid type: nothing" in refusal.message) == ("tools[1].function.parameters", True)


def chain(length: int) -> dict[str, Any]:
    parts = {f"d{n}": {"items": {"$ref": f"#/$defs/d{n + 1}"}} for n in range(length)}
    return {"$defs": {**parts, f"d{length}": {"type": "string"}}, "$ref": "#/$defs/d0"}


TEXTS = [{"pattern": f"a{number}.*b"} for number in range(9)]
MANY = {"type": "object", "properties": {f"p{number}": {} for number in range(400)}}


@pytest.mark.parametrize(
    ("schema", "told"),
    [
        (chain(1300), "2604 levels with all that it refers to"),
        ({"allOf": [{"pattern": f"a{n}.*b{n}"} for n in range(30)]}, "30 patterns and formats for one string"),
        (
            {"$defs": {f"p{n}": {"pattern": f"a{n}.*b"} for n in range(9)}}
            | {"allOf": [{"$ref": f"#/$defs/p{n}"} for n in range(9)]},
            "9 patterns and formats",
        ),
        ({"multipleOf": 999_983}, "999983 items of lists and digits of 'multipleOf'"),
        ({"multipleOf": 0.00123457}, "123457 items of lists"),
        ({"items": {"minItems": 10**6}, "maxItems": 2}, "1000002 items of lists"),
        ({"properties": {f"p{n}": {} for n in range(600)}, "required": ["p0"] * 600}, "599 optional"),
        ({"properties": {f"p{n}": {} for n in range(600)}}, "600 optional properties and branches"),
        ({"anyOf": [MANY] * 30}, "12030 optional properties and branches at one place"),
        (closed(**{f"o{n}": MANY for n in range(6)}), "2400 optional properties and branches,"),
        ({"allOf": [closed(a=text) for text in TEXTS]}, "9 patterns and formats for one string"),
        ({"allOf": [{"patternProperties": {"^a": text}} for text in TEXTS]}, "9 patterns and formats for one string"),
        ({"allOf": [{"additionalProperties": text} for text in TEXTS]}, "9 patterns and formats for one string"),
        (
            {
                "properties": {"a": {}},
                "patternProperties": dict(zip(("^a", "a", "a$", ".", "^a$"), TEXTS, strict=False)),
            },
            "5 patterns and",
        ),
        ({"allOf": [{"items": text} for text in TEXTS]}, "9 patterns and formats for one string"),
        ({"allOf": [{"anyOf": [{"minimum": n}, {"maximum": n}]} for n in range(20)]}, "too many parts that hold"),
        ({"patternProperties": {f"^{n}$": {} for n in range(40)}}, "40 patterns of properties"),
        ({"const": -(2**63)}, "a number beyond"),
        ({"type": "integer", "enum": [-1e19]}, "a number beyond"),
        ({"$ref": "#/nowhere"}, "a reference that does not lead to a schema in it ('#/nowhere')"),
        ({"$ref": "file:///etc/passwd"}, "a reference that does not lead to a schema in it"),
        ({"$ref": "#/examples/0", "examples": [{"items": {"minItems": 10**9}}]}, "does not lead to a schema in it"),
        ({"properties": {"default": {"multipleOf": 999_983}}}, "999983 items of lists and digits of 'multipleOf'"),
        ({"$defs": {"enum": {"const": -(2**63)}}, "$ref": "#/$defs/enum"}, "a number beyond"),
        ({"properties": {"a": {"$anchor": "x"}}}, "a name of its own"),
    ],
    ids=lambda value: str(value)[:40],
)
@pytest.mark.parametrize("strict", [True, None])
async def test_what_is_too_much_to_look_at_is_refused(schema: dict[str, Any], told: str, strict: bool | None) -> None:
    with pytest.raises(InvalidArgumentError) as caught:
        await bound(formatted(schema, strict=strict))
    assert (caught.value.code, caught.value.param) == ("schema_too_complex", "response_format")
    assert told in caught.value.message


@pytest.mark.parametrize(
    "schema",
    [
        {"enum": [f"word {number}" for number in range(3000)]},
        {"type": "string", "pattern": "^" + "(a|b|c|d|e)*" * 18 + "$"},
        {"type": "string", "maxLength": 10**9},
        {"multipleOf": 0.01},
        {"multipleOf": 10**9},
        {"$ref": "#/$defs/any", "$defs": {"any": True}, "default": {"$ref": "nowhere", "minItems": 10**9}},
        closed(**{f"p{number}": {"type": "string"} for number in range(3000)}),
        {"$defs": {"p": {"pattern": "a.*b"}}, "allOf": [{"$ref": "#/$defs/p"}] * 9},
        {"$defs": {"many": MANY}, "anyOf": [closed(k={"const": n}, m={"$ref": "#/$defs/many"}) for n in range(30)]},
        closed(a={"type": "integer", "default": 1e308, "examples": [-(2**63)]}),
        closed(id={"type": "string"}, anchor={"$ref": "#/$defs/a~1b%25"}, **{"$id": {"type": "null"}})
        | {"$defs": {"a/b%": {}}, "$id": "https://example.org/x"},
    ],
    ids=lambda value: str(value)[:40],
)
async def test_what_costs_little_is_taken(schema: dict[str, Any]) -> None:
    assert (await bound(formatted(schema))).schema


@pytest.mark.parametrize(
    "schema",
    [
        {"type": "array", "items": {"type": "string"}, "uniqueItems": True},
        {"type": "string", "format": "uri"},
        {"type": "string", "pattern": "^(?=a)[a-z]$"},
        {"oneOf": [{"type": "integer"}, {"type": "integer", "minimum": 3}]},
        {"not": {"type": "string"}},
    ],
    ids=json.dumps,
)
async def test_without_strict_it_binds_as_far_as_it_can(schema: dict[str, Any]) -> None:
    grammar = await bound(formatted(closed(a=schema, b={"type": "integer"}), strict=None))
    good = {"string": '"x"', "array": '["x"]'}.get(schema.get("type", ""), "7")
    assert takes(grammar, f'{{"a":{good},"b":1}}')
    assert not takes(grammar, f'{{"a":{good},"b":"x"}}')


@pytest.mark.parametrize("strict", [True, None])
@pytest.mark.parametrize("kind", ["integer", ["integer", "null"]], ids=str)
async def test_integers_have_an_end(kind: str | list[str], strict: bool | None) -> None:
    grammar = await bound(formatted(closed(a={"type": kind}), strict=strict))
    numbers = ("-7", "123456789012345678", "8" * 19, "1" * 20, "-" + "1" * 20)
    assert [takes(grammar, f'{{"a":{number}}}') for number in numbers] == [True, True, True, False, False]


async def test_many_integers_stay_open() -> None:
    grammar = await bound(formatted(closed(**{f"p{number}": {"type": "integer"} for number in range(2000)})))
    assert grammar.matcher().consume_tokens(list(b'{"p0":' + b"1" * 100))


@pytest.mark.parametrize(
    "said", [{"minimum": 3}, {"enum": [7, 2**60]}, {"exclusiveMaximum": 0}, {"multipleOf": 3}], ids=str
)
async def test_what_a_schema_says_of_its_integers_stands(said: dict[str, Any]) -> None:
    grammar = await bound(formatted(closed(a={"type": "integer", **said})))
    assert any(takes(grammar, f'{{"a":{number}}}') for number in (3 * 10**18, 7, -1))
    assert not takes(grammar, '{"a":1}')


@pytest.mark.parametrize("strict", [True, None])
async def test_a_count_may_be_written_as_a_float(strict: bool | None) -> None:
    grammar = await bound(formatted(closed(a={"type": "string", "minLength": 2.0, "maxLength": 3.0}), strict=strict))
    assert [takes(grammar, f'{{"a":"{text}"}}') for text in ("x", "xx", "xxx", "xxxx")] == [False, True, True, False]


async def test_what_is_null_is_absent() -> None:
    schema = closed(a={"type": "string", "pattern": None, "maxLength": 1, "enum": None}, b={"const": None})
    assert takes(await bound(formatted(schema)), '{"a":"x","b":null}')


async def test_only_what_does_not_bind_is_left_out() -> None:
    """A property may be named like a pattern or a keyword, and a bound may be too big for a whole number of 64 bits."""
    properties = {
        "^(?=x)": {"type": "integer", "maximum": 1e308, "minimum": 3},
        "pattern": {"type": "string", "pattern": "^(?=x)", "maxLength": 1},
        "default": {"enum": [{"pattern": "^(?=x)"}]},
    }
    grammar = await bound(formatted(closed(**properties), strict=None))
    good = '{"^(?=x)":3,"pattern":"y","default":{"pattern":"^(?=x)"}}'
    assert takes(grammar, good)
    assert not takes(grammar, good.replace("3", "2"))
    assert not takes(grammar, good.replace("y", "yy"))


async def test_any_object_is_an_object() -> None:
    grammar = await bound({"response_format": {"type": "json_object"}})
    assert takes(grammar, '{"a":[1,{"b":null}]}')
    assert not takes(grammar, "[1]")


async def test_a_format_without_a_schema_is_any_json() -> None:
    grammar = await bound(formatted(None))
    assert takes(grammar, "[1]")
    assert not takes(grammar, "hello")


async def test_a_strict_function_that_must_be_called_is_named_by_its_place() -> None:
    loose = tool("f", type="object", properties={"a": {"type": "string", "format": "uri"}})
    strict = tool("g", strict=True, **closed(a={"type": "string", "format": "uri"}))
    request = {"tools": [loose, strict], "tool_choice": "required"}
    assert (await refused(request)).param == "tools[1].function.parameters"
    assert (await refused({**request, "answers_functions": True})).param == "functions[1].parameters"
    named = {"type": "function", "function": {"name": "f"}}
    assert takes(await bound({**request, "tool_choice": named}), '{"a":"x"}')


async def test_each_function_binds_its_own_arguments() -> None:
    tools = [tool("f", **closed(a={"type": "integer", "minimum": 3})), tool("g", **closed(b={"const": 1}))]
    grammar = await bound({"tools": tools, "tool_choice": "required"})
    assert takes(grammar, '{"name":"f","arguments":{"a":3}}')
    assert takes(grammar, '{"name":"g","arguments":{"b":1}}')
    assert not takes(grammar, '{"name":"f","arguments":{"a":2}}')
    assert not takes(grammar, '{"name":"g","arguments":{"a":3}}')


def test_texts_of_a_schema_stay_inside_of_it() -> None:
    assert lark({"enum": ['"}\nstart: /.*/']}).count("\n") == 2
