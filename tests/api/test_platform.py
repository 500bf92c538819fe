"""The platform API in fal's shapes, over a server of its own with a known history."""

import json
from datetime import UTC, datetime, timedelta

import pytest
from platform_wire import LORA, fault

from serving import ENDPOINT, serving, small, submit, wait

IDS = [
    "fal-ai/ltx-2/image-to-video",
    "fal-ai/ltx-2.3/image-to-video",
    ENDPOINT,
    LORA,
    "fal-ai/ltx-2.3-quality/image-to-video",
]
EXAMPLE = {"video_size": {"width": 1280, "height": 720}, "num_frames": 121, "video_write_mode": "fast"}


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    with serving(tmp_path_factory.mktemp("platform"), mock_seconds=0.05) as server:
        yield server


@pytest.fixture(scope="module")
def client(server):
    with server.client() as client:
        yield client


@pytest.fixture(scope="module")
def history(client):
    """Ids by name: the documents' two worked examples, five small requests, faulty input, a cancelled one."""
    made = {
        "19b": client.post(f"/run/{ENDPOINT}", json=small(**EXAMPLE)),
        "lora": client.post(f"/run/{LORA}", json=small(**EXAMPLE, loras=[])),
        **{f"small {n}": client.post(f"/run/{ENDPOINT}", json=small(seed=n)) for n in range(5)},
        "faulty": client.post(f"/run/{ENDPOINT}", json=small(num_frames=1)),
    }
    doomed = submit(client, num_inference_steps=50)
    client.put(doomed["cancel_url"])
    wait(client, doomed)
    ids = {name: answer.headers["x-fal-request-id"] for name, answer in made.items()}
    return {**ids, "cancelled": doomed["request_id"]}, made


@pytest.fixture
def ids(history):
    return history[0]


def ask(client, **fields):
    """A request on an endpoint that the fixture's history has none of, completed."""
    request = client.post(f"/queue/{IDS[4]}", json=small(resolution={"width": 64, "height": 64}, **fields)).json()
    return request, wait(client, request)


def items(client, **query):
    query = {"endpoint_id": f"{ENDPOINT},{LORA}", **query}
    answer = client.get("/v1/models/requests/by-endpoint", params=query)
    assert answer.status_code == 200, answer.text
    return answer.json()["items"]


class TestPrices:
    @pytest.mark.parametrize(("name", "units"), [("19b", "112"), ("lora", "111.51360000"), ("faulty", "0")])
    def test_the_header_says_what_is_billed(self, client, history, name, units):
        ids, made = history
        assert made[name].headers["x-fal-billable-units"] == units
        app = "fal-ai/ltx-2.3-22b" if name == "lora" else "fal-ai/ltx-2-19b"
        again = client.get(f"/queue/{app}/requests/{ids[name]}")
        assert again.headers["x-fal-billable-units"] == units

    @pytest.mark.parametrize(
        ("name", "units", "cost"),
        [("19b", "112", 0.2016), ("lora", "111.51360000", 0.2013), ("faulty", "0", 0), ("cancelled", "0", 0)],
    )
    def test_the_documents_worked_examples(self, client, ids, name, units, cost):
        (item,) = items(client, request_id=ids[name])
        assert (item["billable_units"], item["cost"], item["currency"]) == (units, cost, "USD")

    def test_gpu_seconds_stand_beside_the_price(self, client, ids):
        (item,) = items(client, request_id=ids["19b"])
        assert 0.05 <= item["gpu_seconds"] <= item["duration"]
        assert items(client, request_id=ids["faulty"])[0]["gpu_seconds"] is None

    def test_the_price_list(self, client):
        answer = client.get("/v1/models/pricing", params={"endpoint_id": [f"{ENDPOINT},{LORA}", IDS[0]]}).json()
        assert answer == {
            "prices": [
                {"endpoint_id": ENDPOINT, "unit_price": 0.0018, "unit": "megapixels", "currency": "USD"},
                {"endpoint_id": LORA, "unit_price": 0.001805, "unit": "megapixels", "currency": "USD"},
                {"endpoint_id": IDS[0], "unit_price": 0.06, "unit": "seconds", "currency": "USD"},
            ],
            "next_cursor": None,
            "has_more": False,
        }

    def test_an_estimate_by_units(self, client):
        body = {"estimate_type": "unit_price", "endpoints": {ENDPOINT: {"unit_quantity": 112}, IDS[0]: {}}}
        assert "unit_quantity" in fault(self.estimate(client, body), 400, "validation_error")
        body["endpoints"][IDS[0]] = {"unit_quantity": 0.5}
        assert self.estimate(client, body).json() == {
            "estimate_type": "unit_price",
            "total_cost": 0.2316,
            "currency": "USD",
        }

    def test_an_estimate_by_history(self, client, ids):
        body = {"estimate_type": "historical_api_price", "endpoints": {LORA: {"call_quantity": 10}}}
        assert self.estimate(client, body).json()["total_cost"] == 2.013
        body["endpoints"] = {ENDPOINT: {"call_quantity": 6}}
        # 112 units for the worked example, one each for five small ones.
        assert self.estimate(client, body).json()["total_cost"] == 0.2106
        body["endpoints"] = {IDS[1]: {"call_quantity": 1}}
        assert "no priced request" in fault(self.estimate(client, body), 400, "validation_error")

    @pytest.mark.parametrize(
        "body",
        [
            {},
            [],
            "not JSON",
            {"estimate_type": "free", "endpoints": {ENDPOINT: {"unit_quantity": 1}}},
            {"estimate_type": ["unit_price"], "endpoints": {ENDPOINT: {"unit_quantity": 1}}},
            {"estimate_type": "unit_price", "endpoints": {}},
            {"estimate_type": "unit_price", "endpoints": {ENDPOINT: 1}},
            {"estimate_type": "unit_price", "endpoints": {ENDPOINT: {"unit_quantity": True}}},
            {"estimate_type": "unit_price", "endpoints": {ENDPOINT: {"unit_quantity": 1e-7}}},
            {"estimate_type": "unit_price", "endpoints": {ENDPOINT: {"unit_quantity": 1e300}}},
            {"estimate_type": "historical_api_price", "endpoints": {ENDPOINT: {"call_quantity": 1.5}}},
            {"estimate_type": "historical_api_price", "endpoints": {ENDPOINT: {"unit_quantity": 1}}},
        ],
    )
    def test_an_estimate_that_makes_no_sense_is_refused(self, client, body):
        fault(self.estimate(client, body), 400, "validation_error")

    def estimate(self, client, body):
        content = body if isinstance(body, str) else json.dumps(body)
        return client.post("/v1/models/pricing/estimate", content=content)


class TestModels:
    def models(self, client, **query):
        return [model["endpoint_id"] for model in client.get("/v1/models", params=query).json()["models"]]

    def test_the_catalogue_in_fals_shape(self, client, server):
        answer = client.get("/v1/models").json()
        assert [model["endpoint_id"] for model in answer["models"]] == IDS
        assert (answer["next_cursor"], answer["has_more"]) == (None, False)
        lora = answer["models"][3]["metadata"]
        assert (lora["display_name"], lora["category"]) == ("LTX-2.3 22B", "image-to-video")
        assert (lora["status"], lora["kind"], lora["group"]["label"]) == ("active", "inference", "LTX-2.3")
        assert lora["model_url"] == f"{server.http}/models/{LORA}"
        assert client.get(lora["model_url"], follow_redirects=True).status_code == 200

    def test_filters(self, client):
        assert self.models(client, q="LORA") == [LORA]
        assert self.models(client, q="VIDEO ltx-2.3-quality") == [IDS[4]]
        assert self.models(client, q="elephants") == []
        assert self.models(client, category="image-to-video", status="active") == IDS
        assert self.models(client, category="text-to-video") == self.models(client, status="deprecated") == []
        assert self.models(client, endpoint_id=f"{LORA},{ENDPOINT}") == [ENDPOINT, LORA]
        fault(client.get("/v1/models", params={"endpoint_id": "fal-ai/none"}), 404, "not_found")
        many = ",".join(f"a/{n}" for n in range(51))
        fault(client.get("/v1/models", params={"endpoint_id": many}), 400, "validation_error")

    def test_pages(self, client):
        seen, cursor = [], None
        while True:
            page = client.get("/v1/models", params={"limit": 2, **({"cursor": cursor} if cursor else {})}).json()
            seen += [model["endpoint_id"] for model in page["models"]]
            cursor = page["next_cursor"]
            assert page["has_more"] == (cursor is not None)
            if cursor is None:
                break
        assert seen == IDS

    def test_the_schema_comes_along_when_asked_for(self, client):
        query = {"endpoint_id": LORA, "expand": "openapi-3.0"}
        (model,) = client.get("/v1/models", params=query).json()["models"]
        served = client.get("/api/openapi/queue/openapi.json", params={"endpoint_id": LORA}).json()
        assert model["openapi"] == served
        assert "openapi" not in client.get("/v1/models").json()["models"][0]


class TestHistory:
    def test_an_item_in_fals_shape(self, client, ids):
        (item,) = items(client, request_id=ids["19b"])
        assert (item["endpoint_id"], item["status_code"]) == (ENDPOINT, 200)
        times = [datetime.fromisoformat(item[name]) for name in ("sent_at", "started_at", "ended_at")]
        assert times == sorted(times)
        assert item["duration"] == pytest.approx((times[2] - times[1]).total_seconds(), abs=1e-3)
        assert "json_input" not in item

    def test_by_status(self, client, ids):
        assert {item["request_id"] for item in items(client, status="user_error")} == {ids["faulty"], ids["cancelled"]}
        assert [item["status_code"] for item in items(client, status="user_error")] == [499, 422]
        assert items(client, status="error") == []
        assert len(items(client, status="success")) == 7
        assert len(items(client)) == 9

    def test_by_endpoint_and_time(self, client, ids):
        assert [item["request_id"] for item in items(client, endpoint_id=LORA)] == [ids["lora"]]
        assert items(client, endpoint_id=IDS[0]) == []
        (lora,) = items(client, request_id=ids["lora"])
        assert lora not in items(client, end=lora["ended_at"]), "the end is not included"
        after = datetime.fromisoformat(lora["ended_at"]).isoformat()
        assert items(client, start=after)[-1]["request_id"] == ids["lora"], "the start is"
        assert items(client, start="2020-01-01", end="2021-01-01") == []

    @pytest.mark.parametrize("order", ["ended_at", "duration"])
    @pytest.mark.parametrize("limit", [1, 2, 9])
    def test_pages_hold_each_request_once_in_order(self, client, ids, order, limit):
        seen, cursor = [], None
        while True:
            query = {"limit": limit, "sort_by": order, **({"cursor": cursor} if cursor else {})}
            page = client.get("/v1/models/requests/by-endpoint", params=query).json()
            assert len(page["items"]) <= limit
            seen += page["items"]
            cursor = page["next_cursor"]
            assert page["has_more"] == (cursor is not None)
            if cursor is None:
                break
        assert sorted(item["request_id"] for item in seen) == sorted(ids.values())
        keys = [item[order] or 0 for item in seen]
        assert keys == sorted(keys, reverse=True)

    def test_payloads_come_along_when_asked_for(self, client, ids, server):
        (item,) = items(client, request_id=ids["lora"], expand="payloads")
        assert item["json_input"]["loras"] == []
        assert item["json_input"]["prompt"] == "a test"
        video = item["json_output"]["video"]
        assert (video["width"], video["height"], video["num_frames"]) == (1280, 720, 121)
        assert video["url"].startswith(server.http + "/files/")
        (faulty,) = items(client, request_id=ids["faulty"], expand="payloads")
        assert faulty["json_output"]["detail"][0]["loc"] == ["body", "num_frames"]

    def test_a_large_data_uri_is_told_by_its_length(self, client):
        request, status = ask(client, image_url="data:image/png;base64," + "A" * 100_000)
        assert status["error_type"] == "unsupported_image_format"
        (item,) = items(client, endpoint_id=IDS[4], request_id=request["request_id"], expand="payloads")
        assert len(item["json_input"]["image_url"]) < 200
        assert "100022 characters" in item["json_input"]["image_url"]


class TestUsage:
    def usage(self, client, **query):
        answer = client.get("/v1/models/usage", params=query)
        assert answer.status_code == 200, answer.text
        return answer.json()

    def test_the_sums_are_exact(self, client, ids):
        pair = f"{ENDPOINT},{LORA}"
        answer = self.usage(client, endpoint_id=pair, expand="time_series,summary", timeframe="day")
        by_id = {result["endpoint_id"]: result for result in answer["summary"]}
        assert set(by_id) == {ENDPOINT, LORA}
        assert by_id[LORA]["quantity"] == 111.5136
        assert by_id[LORA]["cost_total"] == by_id[LORA]["cost"] == by_id[LORA]["cost_subtotal"] == 0.2013
        base = by_id[ENDPOINT]
        assert (base["unit"], base["unit_price"], base["currency"]) == ("megapixels", 0.0018, "USD")
        assert (base["quantity"], base["cost_total"], base["request_count"]) == (117, 0.2106, 6)
        assert base["gpu_seconds"] > 0.3
        total = sum(result["cost_total"] for bucket in answer["time_series"] for result in bucket["results"])
        assert total == pytest.approx(0.4119)

    @pytest.mark.parametrize("timeframe", ["minute", "hour", "day", "week", "month"])
    @pytest.mark.parametrize("zone", ["UTC", "Asia/Kathmandu", "America/St_Johns"])
    def test_buckets_begin_where_the_calendar_of_the_zone_says(self, client, ids, timeframe, zone):
        answer = self.usage(client, endpoint_id=f"{ENDPOINT},{LORA}", timeframe=timeframe, timezone=zone)
        assert sum(result["request_count"] for each in answer["time_series"] for result in each["results"]) == 7
        for each in answer["time_series"]:
            began = datetime.fromisoformat(each["bucket"])
            assert began.second == 0
            assert timeframe == "minute" or began.minute == 0
            assert timeframe in ("minute", "hour") or began.hour == 0
            assert timeframe != "week" or began.weekday() == 0
            assert timeframe != "month" or began.day == 1
        assert "summary" not in answer

    def test_the_span_is_widened_to_whole_buckets_unless_told_not_to(self, client, ids):
        (item,) = items(client, request_id=ids["lora"])
        end = datetime.fromisoformat(item["ended_at"])
        query = {"endpoint_id": LORA, "start": "2020-01-01", "end": end.isoformat(), "timeframe": "week"}
        assert len(self.usage(client, **query)["time_series"]) == 1
        assert self.usage(client, **query, bound_to_timeframe="false")["time_series"] == []

    def test_another_endpoint_has_used_nothing(self, client, ids):
        assert self.usage(client, endpoint_id=IDS[0], expand="summary") == {
            "next_cursor": None,
            "has_more": False,
            "summary": [],
        }


class TestDelete:
    def delete(self, client, id):
        return client.delete(f"/v1/models/requests/{id}/payloads")

    def test_payloads_and_files_go_the_row_stays(self, client, ids):
        request, _ = ask(client)
        url = client.get(request["response_url"]).json()["video"]["url"]
        assert self.delete(client, request["request_id"]).json() == {
            "cdn_delete_results": [{"link": url, "exception": None}]
        }
        assert client.get(url).status_code == 404
        gone = client.get(request["response_url"])
        assert (gone.status_code, gone.json()) == (404, {"status": "NOT_FOUND"})
        assert client.get(request["status_url"]).json()["status"] == "COMPLETED"
        (item,) = items(client, endpoint_id=IDS[4], request_id=request["request_id"], expand="payloads")
        assert (item["json_input"], item["json_output"], item["cost"]) == (None, None, 0.0024075)
        assert self.delete(client, request["request_id"]).json() == {"cdn_delete_results": []}

    def test_a_request_that_has_not_ended_keeps_them(self, client, ids):
        fields = {"resolution": {"width": 1280, "height": 720}, "num_frames": 17, "video_write_mode": "fast"}
        request = client.post(f"/queue/{IDS[4]}", json=small(**fields)).json()
        answer = self.delete(client, request["request_id"])
        assert "not ended" in fault(answer, 400, "validation_error")
        assert wait(client, request)["status"] == "COMPLETED"
        assert client.get(request["response_url"]).status_code == 200

    def test_what_is_not_there_is_not_found(self, client):
        fault(self.delete(client, "nothing"), 404, "not_found")


def test_the_last_day_is_the_default(client, ids):
    yesterday = (datetime.now(UTC) - timedelta(hours=24)).isoformat()
    assert items(client) == items(client, start=yesterday)
