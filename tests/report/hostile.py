"""Markup in every field that a user controls, and the documents that it ends up in."""

from __future__ import annotations

from functools import cache

from tests.report.labs import inspection, lab
from tests.report.scripts import FACTS, LOADER, MS, place, process, script
from tests.report.studies import (
    Learning,
    batchnorm_record,
    devices_record,
    optimizers_record,
    workers_record,
)
from tests.report.test_census import layer
from tests.report.test_contrast import contrast
from tests.report.test_run import epoch, record

from laptime.record import RunRecord
from laptime.report.charts.run import run_figures
from laptime.report.charts.script import script_figures
from laptime.report.charts.study import study_figures
from laptime.report.comparisons.document import contrast_document
from laptime.report.document import Document, Source, Stamp
from laptime.report.documents import run_document, script_document, study_document
from laptime.report.lab import lab_document, lab_figures
from laptime.script import ScriptRecord
from laptime.statistics.script_sides import contrast_scripts
from laptime.study import StudyRecord

MARKUP = (
    "<script>alert(1)</script>",
    "</script><script>alert(1)</script>",
    "</style><script>alert(1)</script>",
    "</title><script>alert(1)</script>",
    "<img src=x onerror=alert(1)>",
    "<img src=x onerror=alert(1)//",
    "<svg onload=alert(1)>",
    "<svg><script>alert(1)</script></svg>",
    "<svg><animate onbegin=alert(1) attributeName=x dur=1s>",
    "<body onload=alert(1)>",
    "<iframe src=javascript:alert(1)></iframe>",
    "<iframe srcdoc='<script>alert(1)</script>'></iframe>",
    "<object data=javascript:alert(1)></object>",
    "<embed src=javascript:alert(1)>",
    "<a href=javascript:alert(1)>x</a>",
    "<a href='java\tscript:alert(1)'>x</a>",
    "<form action=javascript:alert(1)><input type=submit></form>",
    "<input autofocus onfocus=alert(1)>",
    "<details open ontoggle=alert(1)>",
    "<video><source onerror=alert(1)></video>",
    "<audio src=x onerror=alert(1)>",
    "<marquee onstart=alert(1)>x</marquee>",
    "<math><mtext></mtext><mglyph><style><img src=x onerror=alert(1)></style></mglyph></math>",
    "<table><td background=javascript:alert(1)></table>",
    "<base href=//evil.example/>",
    "<meta http-equiv=refresh content='0;url=//evil.example'>",
    "<link rel=stylesheet href=//evil.example/x.css>",
    "<style>*{background:url(//evil.example)}</style>",
    '"><script>alert(1)</script>',
    "'><script>alert(1)</script>",
    '" onmouseover="alert(1)',
    "' onmouseover='alert(1)",
    '" autofocus onfocus=alert(1) x="',
    "`onmouseover=alert(1)",
    "--><script>alert(1)</script><!--",
    "]]><script>alert(1)</script>",
    "<!--<script>",
    "<![CDATA[<script>alert(1)</script>]]>",
    "<?xml version='1.0'?><x/>",
    "&lt;script&gt;alert(1)&lt;/script&gt;",
    "&#60;script&#62;alert(1)&#60;/script&#62;",
    "\\u003cscript\\u003ealert(1)",
    "\\x3cscript\\x3ealert(1)",
    "{{ 7 * 7 }}",
    "{% for x in (1,) %}<b>{% endfor %}",
    "${alert(1)}",
    "#{7*7}",
    "{{constructor.constructor('alert(1)')()}}",
    "[x](javascript:alert(1))",
    "![x](javascript:alert(1))",
    "<javascript:alert(1)>",
    "**bold** _it_ ~~no~~",
    "| a | b |\n| - | - |",
    "# heading",
    "```\n<script>alert(1)</script>\n```",
    "\x1b]8;;http://evil.example\x07x\x1b]8;;\x07",
    "\x1b[2J\x00\x08",
    "\u202e<script>txet\u202c",
    "<scr\u200bipt>alert(1)</scr\u200bipt>",
    "\ufeff<script\u2028>alert(1)</script>",
)
"""Sixty strings: elements, handlers, schemes, ends of contexts, templates, Markdown, controls."""


COUNTED = {"b", "p", "li", "ul", "span", "code", "br", "td", "th", "tr"}
"""Elements whose number depends on what a study found, and arms' names seed what it finds."""


def hostile_run(text: str) -> RunRecord:
    machine = {"device_name": text, "cpu": text, "torch": text, "platform": text}
    data = {"name": text, "label": text, "source": text}
    found = record(
        epoch(1), epoch(2), epoch(3),
        settings={"model": text, "data": text}, machine=machine, data=data,
    )  # fmt: skip
    return found.model_copy(
        update={"id": text, "directory": f"runs/{text}", "status": "failed", "reason": text}
    )


def hostile_script(text: str) -> ScriptRecord:
    where = {"place": {**place(1), "path": text, "text": text}}
    named = {"class": text, **where}
    facts = {
        **dict.fromkeys(("python", "executable", "torch", "cwd", "device_name"), text),
        "argv": [text],
        "loaders": [{**LOADER, **named, "dataset": text}],
        "roots": [{**FACTS["roots"][0], **named, "kind": text}],
        "optimizers": [{**FACTS["optimizers"][0], **named, "stepped_at": where["place"]}],
        "syncs": [{**where, "what": text, "count": 800, "ns": 9}],
        "saves": [{**where, "count": 8, "ns": 9}],
        "evaluations": [{**where, "passes": 8, "ns": 9}],
        "other": [{**where, "after": "optimizer", "ns": 9}],
        "missing": [{"boundary": "forward", "reason": text}],
        "notes": [text],
        "workers": {"samples": 1, "batches": 1, "getitem_ns": MS,
                    "transforms": [{"name": text, "ns": MS}]},
    }  # fmt: skip
    status = {"command": [text, text], "cwd": text, "host": text, "reason": text,
              "status": "failed", "exit_status": 1}  # fmt: skip
    found = script(process(facts), status, others=(process(facts),))
    return found.model_copy(update={"id": text, "directory": f"runs/{text}"})


def hostile_studies(text: str) -> list[StudyRecord]:
    machine = {"device_name": text, "cpu": text, "torch": text}
    norms = {name: [[text, 0.1], ["fine", 0.2]] for name in ("batch", "none")}
    found = [
        workers_record(machine=machine, data_label=text, settings={"model": text}),
        optimizers_record({text: Learning(), "sgd": Learning()}, values=("adam", "sgd")),
        batchnorm_record(details={"gradients": norms}, data_label=text),
        devices_record(data_label=text),
    ]
    update = {"id": text, "directory": f"runs/{text}", "explanation": (text, f"Why {text}?")}
    return [study.model_copy(update=update) for study in found]


def hostile_lab(text: str, *, drawn: bool) -> Document:
    of = {study.plan.study: study for study in hostile_studies(text)}
    named = [layer(text, text), layer("fine")]
    counted = inspection(text, model=text, layers=tuple(named), norms={text: 2})
    ended = {part: {"status": "failed", "reason": text} for part in ("C5", "C7")}
    found = lab(run=hostile_run(text), of=of, counted=counted, parts=ended, command=text)
    return lab_document(found, lab_figures(found) if drawn else {})


@cache
def hostile_documents(text: str, *, drawn: bool) -> list[Document]:
    run = hostile_run(text)
    sources = (Source(text, 1, "0" * 64),)
    found = [run_document(run, run_figures(run) if drawn else (), sources)]
    found += [
        study_document(study, study_figures(study) if drawn else (), sources)
        for study in hostile_studies(text)
    ]
    named = hostile_script(text)
    found.append(script_document(named, script_figures(named) if drawn else (), sources))
    found.append(contrast_document(contrast_scripts(named, named)))
    sides = {"id": text, "directory": text}
    given = contrast()
    changed = {"a": given.a.model_copy(update=sides), "b": given.b.model_copy(update=sides)}
    found.append(contrast_document(given.model_copy(update=changed)))
    found.append(hostile_lab(text, drawn=drawn))
    stamp = {"stamp": Stamp(is_fit=False, reasons=(text,))}
    return [Document(**{**vars(document), **stamp}) for document in found]
