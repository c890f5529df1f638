"""ActiveCampaign's PUT operations, reduced to what tests need (operations.json), from its
description (../shared/activecampaign/operations.json, where there is one)."""
import json
import os
import pathlib
import re

import harness

DESCRIPTION = pathlib.Path(os.environ.get(
    "ACRELAY_OPERATIONS", harness.ROOT.parent / "shared/activecampaign/operations.json"))
# of the operations without example and schema, from their manual's pages
ENVELOPES = {"Config_updateSettings": None, "Deal_updateTaskById": "dealTask",
             "User_updateExistingUser": "user"}


def reduced_schema(schema):
    kept = {key: schema[key] for key in ("type", "required", "enum") if schema.get(key)}
    if "properties" in schema:
        kept["properties"] = {name: reduced_schema(of)
                              for name, of in schema["properties"].items()}
    if "items" in schema:
        kept["items"] = reduced_schema(schema["items"])
    return kept


def envelope(operation, schemas):
    if operation["operationId"] in ENVELOPES:
        return ENVELOPES[operation["operationId"]]
    if operation["schema"] in schemas:
        return next(iter(schemas[operation["schema"]]["properties"]))
    return next(iter(next(iter(operation["examples"].values()))))


def reduced(description):
    """By operationId: path, envelope, parameters, codes, examples, schema."""
    schemas = description["schemas"]
    return {o["operationId"]: {
        "path": o["path"], "envelope": envelope(o, schemas),
        "params": [[p["in"], p["name"], p["type"]] for p in o["params"]],
        "codes": [int(code) for code in o["responses"]],
        "examples": list(o["examples"].values()),
        "schema": reduced_schema(schemas[o["schema"]]) if o["schema"] in schemas else None,
    } for o in description["operations"]}


def openapi():
    """The operations as an OpenAPI document: what AC describes, and that the envelope is there."""
    paths = {}
    for name, facts in OPERATIONS.items():
        key, answers = facts["envelope"], {str(code): {"description": ""} for code in facts["codes"]}
        body = facts["schema"] or {"type": "object", "properties": {
            key: {"type": "object"}} if key else {}}
        paths["/api/3" + facts["path"]] = {"put": {
            "operationId": name, "responses": answers,
            "parameters": [{"in": where, "name": parameter, "required": where == "path",
                            "schema": {"type": kind}} for where, parameter, kind in facts["params"]],
            "requestBody": {"required": True, "content": {"application/json": {
                "schema": body | ({"required": [key]} if key else {})}}}}}
    return {"openapi": "3.0.3", "info": {"title": "PUT operations", "version": "3"},
            "paths": paths}


OPERATIONS = json.loads(pathlib.Path(__file__).with_name("operations.json").read_text())


def made(schema):
    """A value that fits a schema."""
    if schema.get("type") == "object":
        return {name: made(of) for name, of in schema["properties"].items()}
    if schema.get("type") == "array":
        return [made(schema["items"])]
    return {"integer": 3, "boolean": True}.get(schema.get("type"), "text")


def bodies(name):
    """The examples of an operation, or one that is made for it."""
    operation = OPERATIONS[name]
    if operation["examples"]:
        return operation["examples"]
    if operation["schema"]:
        return [made(operation["schema"])]
    return [{operation["envelope"] or "config": {"title": "Made up"}}]


def fitting(name):
    """A body that fits what is described."""
    schema = OPERATIONS[name]["schema"]
    return made(schema) if schema else bodies(name)[0]


def path(name, number=7):
    """The path of an object, with a number of its own for each id."""
    numbers = iter(range(number, number + 9))
    return re.sub(r"\{\w+\}", lambda _: str(next(numbers)), OPERATIONS[name]["path"])
