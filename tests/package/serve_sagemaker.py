"""Run where SageMaker's inference toolkit is: `serve_sagemaker.py REQUESTS.json`, in a model's own process.

The toolkit calls the inference code as its containers do. REQUESTS: content type, accept and file of each
body; the answers go to files beside them. The environment is that of create-model.json.
"""
# pyright: reportMissingImports=false

from __future__ import annotations

import json
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from sagemaker_inference import environment
from sagemaker_inference.transformer import Transformer


class Context:
    """What the model server tells of one request."""

    def __init__(self, content_type: str, accept: str) -> None:
        self.system_properties = {"model_dir": environment.model_dir}
        properties = {"Content-Type": content_type, "Accept": accept}
        self.request_processor = [SimpleNamespace(get_request_properties=lambda: properties)]
        self.status: int = 200
        self.answer_type = ""

    def set_response_content_type(self, _: int, value: str) -> None:
        self.answer_type = value

    def set_response_status(self, code: int, phrase: str) -> None:
        self.status = code


def main(file: str) -> None:
    sys.path.insert(0, environment.code_dir)
    transformer = Transformer()
    answers: list[dict[str, Any]] = []
    for content_type, accept, body in json.loads(Path(file).read_text()):
        context = Context(content_type, accept)
        data = bytearray(Path(body).read_bytes())
        (answer,) = transformer.transform([{"body": data}], context)
        out = Path(f"{body}.answer")
        out.write_bytes(answer if isinstance(answer, bytes) else answer.encode())
        answers.append({"status": context.status, "type": context.answer_type, "file": str(out)})
    print(json.dumps(answers))


main(sys.argv[1])
