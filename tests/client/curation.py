"""Graphs in, votes, frozen pairs, a job, a LoRA and an export out, through the generated client alone (see run.py)."""

import hashlib
import sys
import time
from pathlib import Path

import datasets
from diptych_client import Client
from diptych_client.api.candidates import create_generation, find_generation
from diptych_client.api.exchange import create_export, find_export
from diptych_client.api.graphs import list_graphs, list_rejects
from diptych_client.api.jobs import create_job, find_job, find_job_artifact, list_job_artifacts
from diptych_client.api.pairs import create_pairing, list_pairs, preview_pairing
from diptych_client.api.scores import create_score_run, find_score_run
from diptych_client.api.votes import create_vote, show_vote_queue
from diptych_client.models import (
    CreateExportRequest, CreateGenerationRequest, CreateJobRequest, CreatePairingRequest, CreateScoreRunRequest,
    CreateVoteRequest, Import, PreviewPairingRequest, Problem,
)

PICK_A_PIC_COLUMNS = 19


def done(answer):
    """The answer, where it is not a problem."""
    if answer is None or isinstance(answer, Problem):
        sys.exit(f"a problem: {answer and answer.to_dict()}")
    return answer


def wait(client, find, resource):
    resource = done(resource)
    while str(resource.state) not in ("succeeded", "failed", "cancelled"):
        time.sleep(0.2)
        resource = done(find.sync(resource.id, client=client))
    assert str(resource.state) == "succeeded", resource
    return resource


def graphs(count):
    things = [("red", "circle"), ("blue", "square"), ("green", "star"), ("yellow", "triangle")]
    for i in range(count):
        (one, other) = things[i % 4], things[(i // 4 + 1 + i) % 4]
        items = [{"item_id": n, "label": label, "attributes": [colour]} for n, (colour, label) in enumerate((one, other))]
        relation = ["left of", "right of", "above", "below"][i // 16]
        yield {
            "img_id": f"client-{i}", "name": f"client-{i}.png", "caption_ori": f"a {' '.join(one)} {relation} a {' '.join(other)}",
            "items": items, "relations": [{"item1": 0, "relation": relation, "item2": 1}],
        }  # fmt: skip


def main():
    url, folder = sys.argv[1], Path(sys.argv[2])
    client = Client(base_url=url, timeout=60)

    # The last record is wrong, and the others must not suffer.
    records = [*graphs(24), {"img_id": "bad", "items": [{"item_id": 0}]}]
    # The generator has no way to send one of several kinds of body; the request is its client's, the answer its model.
    answer = client.get_httpx_client().post("/api/v1/imports", params={"name": "graphs.json"}, json=records)
    assert answer.status_code == 201, answer.text
    taken = Import.from_dict(answer.json())
    assert (taken.accepted, taken.rejected) == (24, 1), taken
    rejects = done(list_rejects.sync(taken.id, client=client))
    assert rejects.items[0].record == 24, rejects
    listed = done(list_graphs.sync(client=client, limit=200))
    assert listed.total == 24, listed.total

    request = CreateGenerationRequest(graph_ids=[graph.id for graph in listed.items], num_candidates=2, num_inference_steps=3)
    wait(client, find_generation, create_generation.sync(client=client, body=request))
    wait(client, find_score_run, create_score_run.sync(client=client, body=CreateScoreRunRequest(answerer="shapes")))

    contest = done(show_vote_queue.sync(client=client, voter="client")).items[0]
    vote = CreateVoteRequest(left_id=contest.left.id, right_id=contest.right.id, choice="left", voter="client")
    done(create_vote.sync(client=client, body=vote))
    policy = {"weights": {"dpg": 1.0}, "margin": 0.0, "select": "best_worst"}
    preview = done(preview_pairing.sync(client=client, body=PreviewPairingRequest.from_dict({"policy": policy})))
    assert preview.num_pairs > 0, preview
    pairing = done(create_pairing.sync(client=client, body=CreatePairingRequest.from_dict({"name": "client", "policy": policy})))
    pairs = done(list_pairs.sync(pairing.id, client=client, limit=200))
    assert len(pairs.items) == pairing.num_pairs == preview.num_pairs

    request = CreateJobRequest.from_dict({
        "pairing_id": str(pairing.id), "max_steps": 2, "batch_size": 2, "warmup_steps": 1, "trainable": {"kind": "lora", "rank": 2, "alpha": 2},
        "evaluation": {"num_graphs": 1, "num_noises": 1},
    })  # fmt: skip
    job = wait(client, find_job, create_job.sync(client=client, body=request, idempotency_key="client"))
    artifacts = {one.name: one for one in done(list_job_artifacts.sync(job.id, client=client)).items}
    lora = artifacts["pytorch_lora_weights.safetensors"]
    content = find_job_artifact.sync_detailed(job.id, lora.name, client=client).content
    assert hashlib.sha256(content).hexdigest() == lora.sha256

    export = CreateExportRequest(format_="pick-a-pic", pairing_id=pairing.id, license_="CC-BY-4.0")
    export = wait(client, find_export, create_export.sync(client=client, body=export))
    parquet = [file for file in export.files if file.name.endswith(".parquet")]
    for file in parquet:
        answer = client.get_httpx_client().get(file.url)
        assert answer.status_code == 200, answer
        (folder / file.name).write_bytes(answer.content)
    rows = datasets.load_dataset(
        "parquet", data_files=[str(folder / file.name) for file in parquet if not file.name.startswith("ties")], split="train"
    )
    assert len(rows.column_names) == PICK_A_PIC_COLUMNS, rows.column_names
    assert len(rows) == pairing.num_pairs, (len(rows), pairing.num_pairs)
    image = datasets.Image().decode_example({"bytes": rows[0]["jpg_0"], "path": None})
    assert image.size[0] > 0
    print(f"{taken.accepted} graphs, {pairing.num_pairs} pairs, a LoRA of {len(content)} bytes, {len(rows)} rows in datasets")


if __name__ == "__main__":
    main()
