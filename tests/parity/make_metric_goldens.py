"""Random inputs for the metrics, with figures from a plain computation of their published definitions.

Run from the repository's root, with numpy alone:  python tests/parity/make_metric_goldens.py
Writes tests/parity/golden/metrics.json. Nothing here follows our Rust: each function is written from the description of
the published script that it stands for.
"""

import csv
import io
import json
import pathlib
import random

import numpy as np

SEED = 20261124
rng = random.Random(SEED)
np_rng = np.random.default_rng(SEED)


# DPG-Bench: ELLA dpg_bench/compute_dpg_bench.py

L2 = ["entity - whole", "entity - part", "attribute - color", "relation - spatial", "relation - non-spatial", "global -", "other - count"]
COLUMNS = ["item_id", "text", "keywords", "proposition_id", "dependency", "category_broad", "category_detailed", "tuple", "question_natural_language"]


def dpg_rows():
    rows = []
    for i in range(40):
        ids = list(range(1, rng.randint(2, 9)))
        if rng.random() < 0.3:
            rng.shuffle(ids)
        for number in ids:
            parents = [other for other in ids if other != number and other < number and rng.random() < 0.4] or [0]
            if i % 7 == 3 and rng.random() < 0.3:
                parents = ["5, background"] if rng.random() < 0.5 else [77]
            dependency = rng.choice([",", ", "]).join(str(parent) for parent in parents)
            l2 = rng.choice(L2)
            rows.append([f"item_{i}", "a, \"text\"\nof two lines", "k", number, dependency, "x", "y", f"{l2} (thing, {number})", f"Is it {number}?"])
    return rows


def read_rows(rows, skip_first):
    items, broken = {}, set()
    for index, row in enumerate(rows):
        item, number, dependency, tuple_ = row[0], int(row[3]), str(row[4]), row[7]
        if skip_first and index == 0:
            continue
        try:
            parents = [int(part.strip()) for part in dependency.split(",")]
        except ValueError:
            broken.add(item)
            parents = [0]
        items.setdefault(item, []).append((number, parents, tuple_))
    for item, questions in items.items():
        known = {number for number, _, _ in questions}
        if any(parent != 0 and parent not in known for _, parents, _ in questions for parent in parents):
            broken.add(item)
    return items, broken


def crop_score(questions, given, rule):
    raw = {number: 1.0 if given[number] == "yes" else 0.0 for number, _, _ in questions}
    kept = dict(raw)
    if rule == "in_place":
        for number, parents, _ in questions:
            if any(parent != 0 and kept[parent] == 0 for parent in parents):
                kept[number] = 0.0
    else:
        changed = True
        while changed:
            changed = False
            for number, parents, _ in questions:
                if kept[number] and any(parent != 0 and kept[parent] == 0 for parent in parents):
                    kept[number], changed = 0.0, True
    return sum(kept.values()) / len(kept), raw


def dpg(rows, answers, mode, crops):
    items, broken = read_rows(rows, skip_first=mode == "reference")
    scores, l2 = {}, {}
    for image in sorted(answers):
        item = image.split(".")[0]
        if item not in items or item in broken or len(answers[image]) < crops:
            scores[image] = None
            continue
        questions = items[item]
        if any(number not in given for given in answers[image][:crops] for number, _, _ in questions):
            scores[image] = None
            continue
        results = [crop_score(questions, given, "in_place" if mode == "reference" else "fixpoint") for given in answers[image][:crops]]
        scores[image] = float(np.mean([score for score, _ in results]))
        for raw in [raw for _, raw in (results[-1:] if mode == "reference" else results)]:
            for number, _, tuple_ in questions:
                l2.setdefault(tuple_.split("(")[0].strip(), []).append(raw[number])
    l1 = {}
    for name, values in l2.items():
        l1.setdefault(name.split("-")[0].strip(), []).extend(values)
    values = [score for score in scores.values() if score is not None]
    if mode == "corrected":
        seen = {image.split(".")[0] for image in answers}
        values += [0.0 for item in items if item not in broken and item not in seen]
    return {
        "scores": scores,
        "score": 100 * float(np.mean(values)),
        "l1": {name: 100 * float(np.mean(values)) for name, values in l1.items()},
        "l2": {name: 100 * float(np.mean(values)) for name, values in l2.items()},
    }


def dpg_case(crops):
    rows = dpg_rows()
    out = io.StringIO()
    writer = csv.writer(out)
    writer.writerow(COLUMNS)
    writer.writerows(rows)
    numbers = {}
    for row in rows:
        numbers.setdefault(row[0], []).append(row[3])
    words = ["yes"] * 6 + ["no", "no", "Yes", "no thing", "yes "]
    answers, lines = {}, []
    for item in list(numbers) + ["stranger"]:
        if rng.random() < 0.1:
            continue
        image = f"{item}.{rng.choice(['png', 'v2.jpg'])}"
        answers[image] = []
        for crop in range(crops):
            given = {number: rng.choice(words) for number in numbers.get(item, [1]) if rng.random() < 0.995}
            answers[image].append(given)
            lines += [{"image": image, "proposition_id": number, "answer": word, "crop": crop + 1} for number, word in given.items()]
    rng.shuffle(lines)
    case = {"questions": out.getvalue(), "crops": crops, "images": sorted(answers), "answers": [[line["image"], line["proposition_id"], line["answer"], line["crop"]] for line in lines]}
    for mode in ("reference", "corrected"):
        case[mode] = dpg(rows, answers, mode, crops)
    return case


# T2I-CompBench: UniDet_eval/2D_spatial_eval.py, 3D_spatial_eval.py, numeracy_eval.py

WORDS = ["on side of", "next to", "near", "on the left of", "on the right of", "on the bottom of", "on the top of", "on top of", None]


def iou(a, b):
    w = max(0, min(a[2], b[2]) - max(a[0], b[0]))
    h = max(0, min(a[3], b[3]) - max(a[1], b[1]))
    area = lambda box: (box[2] - box[0]) * (box[3] - box[1])
    return w * h / (area(a) + area(b) - w * h)


def image_score(a, b, position):
    if a and b:
        return 0.25 * a[1] + 0.25 * b[1] + 0.5 * position
    return 0.25 * (a or b)[1] if a or b else 0.0


def spatial_2d(word, a, b, mode):
    position = 0.0
    if a and b:
        overlap = iou(a[0], b[0])
        dx = (b[0][0] + b[0][2]) / 2 - (a[0][0] + a[0][2]) / 2
        dy = (b[0][1] + b[0][3]) / 2 - (a[0][1] + a[0][3]) / 2
        if mode == "corrected" and word == "on top of":
            word = "on the top of"
        if word in ("next to", "on side of", "near"):
            near = (abs(dx) < 150 or abs(dy) < 150) if mode == "reference" else max(abs(dx), abs(dy)) < 150
            position = 1.0 if near else 150 / max(abs(dx), abs(dy))
        elif word:
            along, across = {"on the right of": (-dx, dy), "on the left of": (dx, dy), "on the bottom of": (-dy, dx), "on the top of": (dy, dx)}.get(word, (0, 0))
            big = abs(along) > abs(across) or (mode == "corrected" and abs(along) == abs(across))
            if along > 0 and big:
                position = 1.0 if overlap < 0.1 else 0.1 / overlap
    score = image_score(a, b, position)
    return position, 0.0 if score < 0.5 else score


def spatial_3d(word, a, b, depth):
    position = 0.0
    if a and b:
        overlap = iou(a[0], b[0])
        if (word == "in front of" and depth > 0) or (word in ("behind", "hidden") and depth < 0):
            position = 1.0 if overlap > 0.5 else overlap / 0.5 if overlap < 0.5 else 0.0
    return position, image_score(a, b, position)


def random_box():
    grid = rng.choice([1, 10, 50])
    x, y = rng.randint(0, 40) * 10, rng.randint(0, 40) * 10
    w, h = rng.randint(1, 24 if grid == 10 else 8) * grid, rng.randint(1, 24 if grid == 10 else 8) * grid
    return [x, y, x + w, y + h], round(rng.random(), 3)


def spatial_cases():
    plane, depths = [], []
    for _ in range(250):
        word = rng.choice(WORDS)
        a = random_box() if rng.random() < 0.95 else None
        b = random_box() if rng.random() < 0.95 else None
        if a and b and rng.random() < 0.3:
            top = a[0][1] + rng.choice([7, 20])
            b = ([a[0][0] + 7, top, a[0][2] + 7, max(top + 1, a[0][3] + 9)], b[1])
        plane.append([word, a, b, spatial_2d(word, a, b, "reference"), spatial_2d(word, a, b, "corrected")])
    for _ in range(120):
        word = rng.choice(["in front of", "behind", "hidden", None])
        a, b = random_box(), random_box()
        if rng.random() < 0.6:
            b = ([value + rng.choice([0, 5, 30]) for value in a[0][:2]] + [value + 30 for value in a[0][2:]], b[1])
        depth = round(rng.uniform(-0.5, 0.5), 3)
        depths.append([word, a, b, depth, spatial_3d(word, a, b, depth)])
    return plane, depths


RENAMES = {"boy": "person", "girl": "person", "man": "person", "woman": "person", "ship": "boat", "telivision": "tv", "goldfish": "fish", "painting": "picture"}


def numeracy(wanted, boxes):
    side = lambda a, b: max(0, b - a + 1)
    kept = []
    for label, box in boxes:
        double = False
        for other, known in kept:
            inner = side(max(box[0], known[0]), min(box[2], known[2])) * side(max(box[1], known[1]), min(box[3], known[3]))
            one, two = side(box[0], box[2]) * side(box[1], box[3]), side(known[0], known[2]) * side(known[1], known[3])
            double |= other == label and (inner / (one + two - inner) > 0.9 or inner / one > 0.9 or inner / two > 0.9)
        if not double:
            kept.append([label, box])
    score, k = 0.0, len(wanted)
    for name, count in wanted:
        name = RENAMES.get(name, name)
        labels = [label for label, _ in kept]
        if name not in labels:
            for one in kept:
                if name in one[0]:
                    one[0] = name
        number = sum(label == name for label, _ in kept)
        if number:
            score += 0.5 / k
            score += 0.5 / k if number == count else 0
    return score


def numeracy_cases():
    labels = ["person", "mobile phone, cell phone", "saxophone", "car", "carrot", "boat", "dog", "fish"]
    names = ["boy", "phone", "car", "ship", "dog", "goldfish", "cat"]
    cases = []
    for _ in range(120):
        wanted = [[rng.choice(names), rng.randint(1, 4)] for _ in range(rng.randint(1, 4))]
        boxes = []
        for _ in range(rng.randint(0, 9)):
            box = random_box()[0]
            label = rng.choice(labels)
            if boxes and rng.random() < 0.4:
                label, box = boxes[-1][0], [value + rng.choice([0, 1]) for value in boxes[-1][1]]
                box[2], box[3] = max(box[0], box[2]), max(box[1], box[3])
            boxes.append([label, box])
        cases.append([wanted, boxes, numeracy(wanted, boxes)])
    return cases


# SG-IoU: LAION-SG test/test_iou.py and paper S5


def jaccard(a, b):
    return len(a & b) / len(a | b) if a | b else 0.0


def iou_cases():
    nouns, verbs = ["dog", "Dog", "cat", "sofa", "tree"], ["on", "near", "behind"]
    triple = lambda: [rng.choice(nouns), rng.choice(verbs), rng.choice(nouns)]
    cases = []
    for _ in range(100):
        reference = [triple() for _ in range(rng.randint(0, 6))]
        predicted = [rng.choice(reference) if reference and rng.random() < 0.5 else triple() for _ in range(rng.randint(0, 6))]
        if rng.random() < 0.2:
            predicted.append(["dog", "on"])
        objects, predicates = rng.sample(nouns, rng.randint(0, 4)), rng.sample(verbs, rng.randint(0, 3))
        whole = [tuple(one) for one in predicted if len(one) == 3]
        ends = lambda triples: {one[0] for one in triples} | {one[2] for one in triples}
        middle = lambda triples: {one[1] for one in triples}
        figures = lambda things, words: [jaccard({tuple(one) for one in reference}, {tuple(one) for one in predicted}), jaccard(ends(reference), things), jaccard(middle(reference), words)]
        cases.append([reference, predicted, objects, predicates, figures(set(objects), set(predicates)), figures(ends(whole), middle(whole))])
    return cases


# FID: pytorch-fid fid_score.py, in its stable form for positive semi-definite covariances


def root(matrix):
    values, vectors = np.linalg.eigh(matrix)
    return (vectors * np.sqrt(np.clip(values, 0, None))) @ vectors.T


def frechet_cases():
    cases = []
    for n, m, d in [(40, 40, 3), (9, 30, 8), (5, 4, 8), (2, 2, 3), (30, 6, 4), (12, 12, 1)]:
        a = np.round(np_rng.normal(size=(n, d)) @ np_rng.normal(size=(d, d)), 4)
        b = np.round(np_rng.normal(size=(m, d)) * np_rng.uniform(0.2, 3, d) + np_rng.normal(size=d), 4)
        s, t = np.atleast_2d(np.cov(a, rowvar=False)), np.atleast_2d(np.cov(b, rowvar=False))
        half = root(s)
        values = np.linalg.eigvalsh(half @ t @ half)
        # Rounding leaves values of 1e-17 where there should be none, and their roots would not be small.
        values = np.where(values > 1e-12 * values.max(), values, 0)
        distance = ((a.mean(0) - b.mean(0)) ** 2).sum() + np.trace(s) + np.trace(t) - 2 * np.sqrt(values).sum()
        cases.append([a.tolist(), b.tolist(), float(distance)])
    return cases


# T2I-CompBench 3_in_1_eval/3_in_1.py: arrays by picture, the prompt looked up in the spatial list, then in that of actions


def three_in_one_cases():
    spatial_list, action_list = ["a red hat on a rack.", "A cat is left of a mat"], ["a dog chases a ball", "a cat is left of a mat"]
    known = lambda prompt, prompts: prompt.split(".")[0].lower() in [line.split(".")[0].lower() for line in prompts]
    cases = []
    for _ in range(60):
        prompt = rng.choice(["A red hat on a rack.", "a cat is left of a mat. Yes", "A dog chases a ball", "a bird sings to a tree."])
        a, s, c = rng.random(), rng.random(), rng.uniform(-0.1, 0.4)
        blip = float(f"{a:.4f}")
        if known(prompt, spatial_list):
            figure = (s + blip) / 2
        elif known(prompt, action_list):
            figure = (c + blip) / 2
        else:
            figure = (blip + s + c) / 3
        cases.append([prompt, a, s, c, figure])
    return {"spatial": spatial_list, "action": action_list, "cases": cases}


def main():
    plane, depths = spatial_cases()
    document = {
        "made_by": f"tests/parity/make_metric_goldens.py, seed {SEED}, numpy {np.__version__}",
        "dpg": [dpg_case(1), dpg_case(4), dpg_case(2)],
        "spatial_2d": plane,
        "spatial_3d": depths,
        "numeracy": numeracy_cases(),
        "scene_graph_iou": iou_cases(),
        "frechet": frechet_cases(),
        "three_in_one": three_in_one_cases(),
    }
    path = pathlib.Path(__file__).parent / "golden" / "metrics.json"
    path.write_text(json.dumps(document, separators=(",", ":"), ensure_ascii=False) + "\n")
    print(path, path.stat().st_size, "bytes")


if __name__ == "__main__":
    main()
