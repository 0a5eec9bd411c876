"""Holds exports of lineage against the tools that other people read them with, without any network.

check.py openlineage SCHEMA < EVENTS    each line: the classes of the official client, which are made from the official
                                        schemas; the facet of our own against SCHEMA
check.py prov-json < DOCUMENTS          each line: the reference implementation: read, written, read again, as PROV-JSON and as PROV-N
check.py ro-crate DIRECTORY             the community's validator and its library, on the crate in the directory

What is wrong goes to standard error, and the exit code is 1.
"""

import enum
import importlib
import json
import pathlib
import pkgutil
import sys
import types
import typing
import uuid
import warnings
from urllib.parse import unquote, urlsplit


def insist(holds, what):
    if not holds:
        sys.exit(what)


def openlineage(schema_file):
    import attr
    import jsonschema
    import openlineage.client.generated as generated
    from openlineage.client.generated.base import RunEvent

    schema = json.loads(pathlib.Path(schema_file).read_text())
    jsonschema.Draft202012Validator.check_schema(schema)
    modules = [importlib.import_module(f"{generated.__name__}.{m.name}") for m in pkgutil.iter_modules(generated.__path__)]
    # As the official schemas name them among the facets of a run, a job, a dataset.
    facets = {
        "parent": "ParentRunFacet", "tags": "TagsRunFacet", "errorMessage": "ErrorMessageRunFacet",
        "jobType": "JobTypeJobFacet", "version": "DatasetVersionDatasetFacet", "storage": "StorageDatasetFacet",
        "symlinks": "SymlinksDatasetFacet", "outputStatistics": "OutputStatisticsOutputDatasetFacet",
        "inputStatistics": "InputStatisticsInputDatasetFacet",
    }

    def named(name):
        return next(getattr(module, name) for module in modules if hasattr(module, name))

    def is_uri(text):
        return isinstance(text, str) and bool(urlsplit(text).scheme)

    def custom(key, base, value, at):
        defs, _, name = value["_schemaURL"].partition("#/$defs/")
        insist(defs == schema["$id"], f"{at}: {value['_schemaURL']}")
        entity = base.__name__.removesuffix("Facet")
        words = "".join(word.capitalize() for word in key.split("_"))
        insist(name == f"{words}{entity}Facet", f"{at}: {name} is no name of a facet {key} of {entity}")
        one = {"$schema": schema["$schema"], "$ref": f"#/$defs/{name}", "$defs": schema["$defs"]}
        checker = jsonschema.Draft202012Validator(one, format_checker=jsonschema.FormatChecker())
        for error in checker.iter_errors(value):
            sys.exit(f"{at}: {error.message}")
        insist(is_uri(value["_producer"]), f"{at}: {value['_producer']}")
        return base(producer=value["_producer"])

    def facet(key, base, value, at):
        if key.startswith("runpack_"):
            return custom(key, base, value, at)
        insist(key in facets, f"{at}: no standard facet")
        cls = named(facets[key])
        insist(issubclass(cls, base), f"{at}: {cls.__name__} is no {base.__name__}")
        return structure(cls, value, at)

    def read(kind, value, at):
        if kind is typing.Any:
            return value
        origin, arguments = typing.get_origin(kind), typing.get_args(kind)
        if origin in (typing.Union, types.UnionType):
            [kind] = [one for one in arguments if one is not types.NoneType]
            return read(kind, value, at)
        if origin is list:
            insist(isinstance(value, list), f"{at}: no list")
            return [read(arguments[0], one, f"{at}[{place}]") for place, one in enumerate(value)]
        if origin is dict:
            insist(isinstance(value, dict), f"{at}: no object")
            return {key: facet(key, arguments[1], one, f"{at}.{key}") for key, one in value.items()}
        if attr.has(kind):
            return structure(kind, value, at)
        if issubclass(kind, enum.Enum):
            return kind(value)
        insist(type(value) is kind, f"{at}: {value!r} is no {kind.__name__}")
        return value

    def structure(cls, value, at):
        insist(isinstance(value, dict), f"{at}: no object")
        hints, given = typing.get_type_hints(cls), {}
        fields = {field.name: field for field in attr.fields(cls)}
        for key, one in value.items():
            insist(key in fields, f"{at}: {cls.__name__} has no {key}")
            got = read(hints[key], one, f"{at}.{key}")
            if fields[key].init:
                given[fields[key].alias] = got
            else:
                insist(one == cls._get_schema(), f"{at}.{key}: {one} is not {cls._get_schema()}")
            if key in ("producer", "_producer", "schemaURL", "_schemaURL"):
                insist(is_uri(one), f"{at}.{key}: {one!r} is no URI")
        for field in fields.values():
            must = field.default is attr.NOTHING or field.name in ("producer", "_producer", "schemaURL", "_schemaURL")
            insist(not must or field.name in value, f"{at}: no {field.name}")
        return cls(**given)

    seen = {}
    for number, line in enumerate(sys.stdin):
        event = json.loads(line)
        structure(RunEvent, event, f"event {number}")
        run = uuid.UUID(event["run"]["runId"])
        insist(str(run) == event["run"]["runId"] and run.variant == uuid.RFC_4122 and run.version == 8, f"{run}")
        seen.setdefault(event["run"]["runId"], []).append(event["eventType"])
        for dataset in event.get("inputs", []) + event.get("outputs", []):
            insist(is_uri(dataset["namespace"]), f"{dataset['namespace']!r} is no URI")
    insist(seen, "there are no events")
    for run, kinds in seen.items():
        insist(kinds[0] == "START" and kinds[1:] in (["COMPLETE"], ["FAIL"], ["ABORT"]), f"{run}: {kinds}")


def prov_json():
    # It warns of what a later version of it will refuse.
    warnings.simplefilter("error")
    texts = [line for line in sys.stdin if line.strip()]
    insist(texts, "there is no document")
    for text in texts:
        prov_document(text)


def prov_document(text):
    from prov.identifier import QualifiedName
    from prov.model import ProvDocument, ProvElement, ProvRelation

    document = ProvDocument.deserialize(content=text, format="json")
    for form in ("json", "provn"):
        again = ProvDocument.deserialize(content=document.serialize(format=form), format=form)
        insist(again == document, f"it is another one after it was written as {form}")
    kinds = {kind: records for kind, records in json.loads(text).items() if kind != "prefix"}
    records = list(document.get_records())
    insist(len(records) == sum(map(len, kinds.values())), "a record was not read")
    known = {record.identifier for record in document.get_records(ProvElement)}
    for relation in document.get_records(ProvRelation):
        for name, value in relation.formal_attributes:
            insist(not isinstance(value, QualifiedName) or value in known, f"{relation}: {name} {value} is not told of")


def ro_crate(directory):
    import rocrate
    from rocrate.rocrate import ROCrate
    from rocrate_validator import models, services
    from rocrate_validator.utils.http import OFFLINE_CACHE_MISS_STATUS, HttpRequester

    context = json.loads((pathlib.Path(rocrate.__file__).parent / "data/ro-crate.jsonld").read_text())

    class Answer:
        """The context; of everything else that it is not there, as the validator says it without a network."""

        headers = {"Content-Type": "application/ld+json"}

        def __init__(self, url):
            self.ok = url == context["@id"]
            self.status_code = 200 if self.ok else OFFLINE_CACHE_MISS_STATUS
            self.text = json.dumps(context) if self.ok else ""

        def json(self):
            return json.loads(self.text)

        def raise_for_status(self):
            insist(self.ok, "something else than the context was needed")

    HttpRequester.get = HttpRequester.head = HttpRequester.fetch_fresh = lambda self, url, **_: Answer(url)
    for profile, inherits in (("ro-crate-1.3", True), ("process-run-crate-0.5", False)):
        settings = services.ValidationSettings(
            rocrate_uri=directory,
            profile_identifier=profile,
            # The profile was written for RO-Crate 1.1, and this is a later one.
            enable_profile_inheritance=inherits,
            requirement_severity=models.Severity.RECOMMENDED,
            offline=True,
        )
        result = services.validate(settings)
        for issue in result.get_issues():
            what = f"{profile} {issue.check.identifier} {issue.severity.name} {issue.violatingEntity}: {issue.message}"
            insist(issue.severity != models.Severity.REQUIRED, what)
            print(what)
    crate = ROCrate(directory)
    insist(crate.root_dataset["identifier"]["value"].startswith("sha256:"), "the pack id is not its identifier")
    files = {path.relative_to(directory).as_posix() for path in pathlib.Path(directory).rglob("*") if path.is_file()}
    told = {unquote(entity.id) for entity in crate.data_entities}
    insist(told == files - {"ro-crate-metadata.json"}, f"{sorted(told ^ files)}")


command, *arguments = sys.argv[1:]
{"openlineage": openlineage, "prov-json": prov_json, "ro-crate": ro_crate}[command](*arguments)
