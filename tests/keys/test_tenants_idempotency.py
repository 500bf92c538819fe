"""An Idempotency-Key is a word of its tenant's own."""

from test_key_commands import WIDE, make_key

from serving import ENDPOINT, serving, small


def test_the_keys_of_two_tenants_never_meet(tmp_path):
    with serving(tmp_path, **WIDE) as server, server.client() as client:
        tenants = [make_key(tmp_path, name) for name in ("one", "other")]

        def post(tenant, **fields):
            headers = {"Idempotency-Key": "the same", **tenant}
            return client.post(f"/queue/{ENDPOINT}", json=small(**fields), headers=headers)

        ids = [post(tenant, seed=number).json()["request_id"] for number, tenant in enumerate(tenants)]
        assert ids[0] != ids[1]
        for number, tenant in enumerate(tenants):
            assert post(tenant, seed=number).json()["request_id"] == ids[number]
            assert post(tenant, seed=1 - number).status_code == 422
