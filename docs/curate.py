#!/usr/bin/env python3
"""Curates through the API: graphs in, a trained model's weights out. Needs nothing but Python.

    python3 docs/curate.py http://127.0.0.1:8080 --graphs graphs.json --max-steps 300 --output unet.safetensors

Each step can be repeated: a file that was taken in is unchanged, the same pairs are the same pairing, and the job has a key.
"""

import argparse
import hashlib
import json
import sys
import time
import urllib.error
import urllib.request


class Api:
    def __init__(self, url):
        self.url = url.rstrip("/")

    def open(self, method, path, body=None, headers=None):
        data = body if isinstance(body, bytes) or body is None else json.dumps(body).encode()
        headers = {"content-type": "application/json", **(headers or {})}
        request = urllib.request.Request(self.url + path, data, headers, method=method)
        try:
            return urllib.request.urlopen(request)
        except urllib.error.HTTPError as error:
            problem = json.load(error)
            faults = "".join(f"\n  {fault['pointer']}: {fault['detail']}" for fault in problem.get("errors", []))
            sys.exit(f"{method} {path}: {problem['status']} {problem['title']}: {problem['detail']}{faults}")

    def call(self, method, path, body=None, headers=None):
        with self.open(method, path, body, headers) as response:
            return json.load(response)

    def pages(self, path):
        """Every item of a list, however many pages it has."""
        cursor = ""
        while cursor is not None:
            page = self.call("GET", f"{path}{'&' if '?' in path else '?'}limit=200{cursor and f'&cursor={cursor}'}")
            yield from page["items"]
            cursor = page["next_cursor"]

    def finish(self, noun, resource):
        """Waits for long work, which is a resource with a state."""
        while resource["state"] in ("queued", "running"):
            time.sleep(1)
            resource = self.call("GET", f"/api/v1/{noun}/{resource['id']}")
            progress = resource["progress"]
            print(f"{noun}: {resource['state']}, {progress['done']} of {progress['total']} {progress['unit']}", file=sys.stderr)
        if resource["state"] != "succeeded":
            sys.exit(f"{noun} {resource['id']} {resource['state']}: {resource['error']}")
        return resource

    def follow(self, job):
        """The job's events as they happen, going on where a connection broke off."""
        last = "0"
        while True:
            headers = {"accept": "text/event-stream", "last-event-id": last}
            with self.open("GET", f"/api/v1/jobs/{job['id']}/events", headers=headers) as stream:
                for line in stream:
                    name, _, value = line.decode().rstrip("\r\n").partition(": ")
                    if name == "id":
                        last = value
                    elif name == "data":
                        event = json.loads(value)
                        yield event
                        if event["kind"] == "state" and event["data"]["to"] in ("succeeded", "failed", "cancelled"):
                            return


def main():
    arguments = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    arguments.add_argument("url")
    arguments.add_argument("--graphs", help="a LAION-SG file to take in first")
    arguments.add_argument("--most-graphs", type=int, default=100, help="candidates for at most so many new graphs")
    arguments.add_argument("--num-inference-steps", type=int, default=20)
    arguments.add_argument("--objective", default="diffusion-dpo")
    arguments.add_argument("--max-steps", type=int, default=300)
    arguments.add_argument("--evaluation-graphs", type=int, default=256)
    arguments.add_argument("--output", default="unet.safetensors")
    arguments = arguments.parse_args()
    api = Api(arguments.url)

    if arguments.graphs:
        with open(arguments.graphs, "rb") as file:
            taken = api.call("POST", "/api/v1/imports?name=graphs.json", file.read())
        print(f"{taken['accepted']} new graphs, {taken['unchanged']} known, {taken['rejected']} rejected")
        for reject in api.pages(f"/api/v1/imports/{taken['id']}/rejects"):
            print(f"  record {reject['record']} {reject['pointer']}: {reject['message']}")

    new = [graph["id"] for graph in api.pages("/api/v1/graphs?split=train&has_candidates=false&facets=false")]
    if new := new[: arguments.most_graphs]:
        request = {"graph_ids": new, "num_candidates": 4, "num_inference_steps": arguments.num_inference_steps}
        api.finish("generations", api.call("POST", "/api/v1/generations", request))
    api.finish("score-runs", api.call("POST", "/api/v1/score-runs", {"answerer": "shapes"}))

    # The widest margin that still leaves pairs of two thirds of the graphs.
    def policy(margin):
        return {"weights": {"dpg": 1.0}, "margin": margin, "select": "best_worst"}

    found = {margin: api.call("POST", "/api/v1/pairings/preview", {"policy": policy(margin)}) for margin in (0.0, 0.1, 0.2, 0.3)}
    enough = 2 / 3 * found[0.0]["num_graphs"]
    margin = max(margin for margin, preview in found.items() if preview["num_graphs"] >= enough)
    pairing = api.call("POST", "/api/v1/pairings", {"name": f"margin {margin}", "policy": policy(margin)})
    print(f"{pairing['num_pairs']} pairs at margin {margin}, hash {pairing['hash'][:12]}")

    request = {
        "pairing_id": pairing["id"],
        "objective": arguments.objective,
        "max_steps": arguments.max_steps,
        "warmup_steps": min(10, arguments.max_steps),
        "evaluation": {"num_graphs": arguments.evaluation_graphs},
    }
    key = hashlib.sha256(json.dumps(request, sort_keys=True).encode()).hexdigest()
    job = api.call("POST", "/jobs", request, {"idempotency-key": key})
    for event in api.follow(job):
        if event["kind"] in ("state", "log"):
            print(f"job: {event['data'].get('to') or event['data'].get('message')}", file=sys.stderr)
    job = api.call("GET", f"/api/v1/jobs/{job['id']}")
    if job["state"] != "succeeded":
        sys.exit(f"the job {job['state']}: {job['error']}")

    evaluation = api.call("GET", f"/api/v1/evaluations?job_id={job['id']}")["items"][0]["result"]
    print(f"base {evaluation['base_score']:.3f}, trained {evaluation['trained_score']:.3f}, difference {evaluation['delta']:+.3f} ± {evaluation['delta_se']:.3f}")
    artifacts = api.call("GET", f"/api/v1/jobs/{job['id']}/artifacts")["items"]
    weights = next(one for one in artifacts if one["name"].endswith(".safetensors"))
    with api.open("GET", weights["url"]) as response:
        content = response.read()
    assert hashlib.sha256(content).hexdigest() == weights["sha256"], "the weights arrived damaged"
    with open(arguments.output, "wb") as file:
        file.write(content)
    print(f"{arguments.output}: {len(content)} bytes")


if __name__ == "__main__":
    main()
