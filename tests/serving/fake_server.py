"""A server of invented articles and two invented models, with answers of the shapes of `recommenders-miner serve`."""

import json
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import numpy as np

PAGE = Path(__file__).parents[2] / "recommenders_miner" / "serving" / "page.html"
NOW = 1_780_000_000
MODELS = {"miner-3f2a91c0": 5, "nrms-77d0e1b4": 1}
MARKUP = '<img src=x onerror="window.broken = 1"> & <b>other</b> markup'
TOPICS = {
    "autos": "electric pickup,hybrid sedan,old roadster,city bus",
    "entertainment": "award show,comic festival,stage musical,talk show",
    "finance": "interest rate,housing market,small bank,pension fund",
    "foodanddrink": "apple pie,street taco,cold brew,sourdough loaf",
    "health": "flu season,night shift,heart study,knee surgery",
    "lifestyle": "tiny house,dog shelter,wedding dress,book club",
    "music": "string quartet,farewell tour,vinyl shop,school choir",
    "news": "city council,bridge collapse,school vote,harbour strike",
    "sports": "overtime goal,rookie pitcher,marathon record,top seed",
    "travel": "night train,island ferry,mountain hut,airport queue",
    "video": "river rescue,baby panda,drone race,street magician",
    "weather": "lake snow,late hurricane,heat wave,river flood",
}
PHRASES = (
    "What the {} means for a small town, and why it matters",
    "The {} that nobody saw coming",
    "Inside the {}: five people tell their story",
    "Five things to know about the {} before the weekend",
    "{} divides the neighbours",
    "Why this {} could be the last of its kind in the whole country, experts say",
    "A year after the {}, questions remain",
)


class World:
    """300 articles with vectors around their categories, and two models that look at clicks in their own ways."""

    def __init__(self):
        rng = np.random.default_rng(7)
        names = list(TOPICS)
        centres = rng.normal(size=(len(names), 6))
        self.articles, vectors = {}, []
        for index in range(300):
            category = names[int(rng.zipf(1.6)) % len(names)] if index >= 120 else names[index % len(names)]
            topic = rng.choice(TOPICS[category].split(","))
            title = rng.choice(PHRASES).format(topic)
            self.articles[f"N{1000 + index}"] = {
                "id": f"N{1000 + index}",
                "title": MARKUP if index == 42 else title[0].upper() + title[1:],
                "category": category,
                "subcategory": topic.replace(" ", ""),
                "published": NOW - 7200 - int(rng.exponential(5 * 86400)),
            }
            vectors.append(centres[names.index(category)] + 0.6 * rng.normal(size=6))
        self.categories = sorted(names)
        self.rows = {news_id: row for row, news_id in enumerate(self.articles)}
        self.vectors = np.array(vectors) / 2
        self.codes = rng.normal(size=(5, 6))

    def vectors_of(self, ids):
        return self.vectors[[self.rows[news_id] for news_id in ids]].reshape(-1, 6)

    def state(self, model, history):
        """Attention (K, M) and interests (K, 6)."""
        clicks = self.vectors_of(history)
        logits = 2 * self.codes[: MODELS[model]] @ clicks.T if MODELS[model] > 1 else np.zeros((1, len(clicks)))
        attention = np.exp(logits) / np.maximum(np.exp(logits).sum(1, keepdims=True), 1e-9)
        return attention, attention @ clicks

    def parts(self, model, history, candidates):
        """Interests' scores and weights, (C, K)."""
        scores = self.vectors_of(candidates) @ self.state(model, history)[1].T
        weights = np.exp(scores) / np.exp(scores).sum(1, keepdims=True)
        return scores, weights

    def score(self, model, history, candidates):
        scores, weights = self.parts(model, history, candidates)
        return (scores * weights).sum(1)

    def known(self, history):
        return [news_id for news_id in history if news_id in self.rows]

    def recommend(self, body):
        history = self.known(body["history"])
        limit, where = NOW - body.get("max_age", 10**9), body.get("where", {})
        pool = [
            row
            for row in self.articles.values()
            if row["id"] not in history
            and row["published"] >= limit
            and where.get("category", row["category"]) == row["category"]
        ]
        ids = [row["id"] for row in pool]
        scores = self.score(body["model"], history, ids) if history else -np.arange(len(ids)) / 100
        order = np.argsort(-scores, kind="stable").tolist()
        if body.get("policy"):
            return self.arranged(body, [{**pool[i], "score": float(scores[i])} for i in order])
        best = order[: body["k"]]
        why = "model" if history else "popular"
        articles = [
            {"id": ids[i], "score": scores[i], "title": pool[i]["title"], "category": pool[i]["category"], "why": why}
            for i in best
        ]
        return {"id": "a1", "model": body["model"], "articles": articles}

    def arranged(self, body, ranked):
        """A policy with one rule, no weather, and the pins of the request; the dial turns the rest around at 1."""
        kept = [row for row in ranked if row["category"] != "weather"][:: -1 if body.get("dial") == 1 else 1]
        listed = [row for row in kept if row["id"] not in {pin["id"] for pin in body.get("pins", ())}][: body["k"]]
        for pin in sorted(body.get("pins", ()), key=lambda pin: pin["place"]):
            listed.insert(pin["place"] - 1, next(row for row in ranked if row["id"] == pin["id"]))
        listed, rank_of = listed[: body["k"]], {row["id"]: rank for rank, row in enumerate(ranked, start=1)}
        pinned = {pin["id"]: f"{pin['id']} at place {pin['place']}" for pin in body.get("pins", ())}
        names = ("id", "score", "title", "category")
        articles = [{"why": "model", **{name: row[name] for name in names}} for row in listed]
        for place, row in enumerate(articles, start=1):
            if rank_of[row["id"]] != place:
                rule = pinned.get(row["id"], "no weather")
                row["moved"] = {"rule": rule, "rank": rank_of[row["id"]], "place": place}
        said = {"policy": body["policy"], "relaxed": [{"rule": "near", "by": 2, "clashes": ["candidates"]}]}
        missing = [id for id in body.get("why_not", ()) if id not in {row["id"] for row in listed}]
        said["why_not"] = [{"id": id, "rule": "no weather", "text": "weather has its 0 places."} for id in missing]
        return {"id": "a1", "model": body["model"], "articles": articles, **said}

    def brief(self, news_id):
        return {name: self.articles[news_id][name] for name in ("id", "category", "title")}

    def explain(self, body):
        model, history = body["model"], self.known(body["history"])
        scores, weights = self.parts(model, history, body["articles"])
        attention = self.state(model, history)[0] if MODELS[model] > 1 else [None]
        total = self.score(model, history, body["articles"])
        without = [
            self.score(model, history[:place] + history[place + 1 :], body["articles"]) for place in range(len(history))
        ]
        return {
            "model": model.split("-")[0],
            "history": [self.brief(news_id) for news_id in history],
            "candidates": [
                {
                    **self.brief(news_id),
                    "clicked": None,
                    "score": total[row],
                    "interests": [
                        {
                            "name": f"interest {k + 1}" if MODELS[model] > 1 else "user",
                            "score": scores[row, k],
                            "weight": weights[row, k],
                            "attention": attention[k],
                        }
                        for k in range(MODELS[model])
                    ],
                    "influence": [total[row] - one[row] for one in without],
                }
                for row, news_id in enumerate(body["articles"])
            ],
        }

    def map(self, body):
        axes = np.linalg.svd(self.vectors - self.vectors.mean(0))[2][:2]
        turn = axes if MODELS[body["model"]] > 1 else axes[::-1]
        history = self.known(body["history"])
        interests = self.state(body["model"], history)[1] @ turn.T if history else np.empty((0, 2))
        places = self.vectors @ turn.T
        return {
            "articles": [
                {**self.brief(news_id), "x": x, "y": y} for news_id, (x, y) in zip(self.articles, places, strict=True)
            ],
            "interests": [{"name": f"interest {k + 1}", "x": x, "y": y} for k, (x, y) in enumerate(interests)],
        }

    def find(self, query):
        words, category = query.get("q", [""])[0].lower().split(), query.get("category", [None])[0]
        found = [
            row
            for row in self.articles.values()
            if all(word in row["title"].lower() for word in words) and category in (None, row["category"])
        ]
        limit = int(query.get("limit", ["20"])[0])
        return {"total": len(found), "articles": found[:limit], "categories": self.categories}


class FakeServer(ThreadingHTTPServer):
    """Answers in the shapes of the contract. `token`, `problem` (path, status, detail) make it refuse."""

    daemon_threads = True

    def __init__(self):
        super().__init__(("127.0.0.1", 0), Handler)
        self.world, self.token, self.problem, self.asked, self.policies = World(), None, None, [], None
        self.url = f"http://127.0.0.1:{self.server_port}/"


class Handler(BaseHTTPRequestHandler):
    def log_message(self, *args):
        pass

    def reply(self, status, content, kind="application/json"):
        data = content if isinstance(content, bytes) else json.dumps(content, default=_plain).encode()
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def refuse(self, status, detail):
        problem = {"type": "about:blank", "title": "Refused", "status": status, "detail": detail}
        self.reply(status, problem, "application/problem+json")

    def answer(self, body):
        server, url = self.server, urlsplit(self.path)
        server.asked.append((url.path, body))
        if url.path == "/":
            self.reply(200, PAGE.read_bytes(), "text/html; charset=utf-8")
        elif server.token and self.headers.get("Authorization") != f"Bearer {server.token}":
            self.refuse(401, "Send the token of this server as `Authorization: Bearer …`.")
        elif server.problem and url.path == server.problem[0]:
            self.refuse(*server.problem[1:])
        elif url.path == "/v1/models":
            models = [{"name": name, "kind": name[:5], "share": 0.5, "history": 50} for name in MODELS]
            self.reply(200, {"models": models, **({"policies": server.policies} if server.policies else {})})
        elif url.path == "/v1/articles":
            self.reply(200, server.world.find(parse_qs(url.query)))
        elif url.path in ("/v1/recommend", "/v1/explain", "/v1/map"):
            self.reply(200, getattr(server.world, url.path.removeprefix("/v1/"))(body))
        else:
            self.refuse(404, f"There is nothing at {url.path}.")

    def do_GET(self):
        self.answer(None)

    def do_POST(self):
        self.answer(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))


def _plain(value):
    return value.tolist()
