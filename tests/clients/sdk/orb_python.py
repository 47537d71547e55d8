from orb import Orb

import calls


def create(url, key, name, retries):
    client = Orb(api_key="test_1", base_url=url, max_retries=retries)
    return client.customers.create(name=name, email="a@example.com", idempotency_key=key).id


calls.serve(create)
