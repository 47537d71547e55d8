import stripe

import calls

stripe.enable_telemetry = False


def create(url, key, name, retries):
    client = stripe.StripeClient("sk_test_1", base_addresses={"api": url}, max_network_retries=retries)
    options = {"idempotency_key": key} if key else {}
    return client.v1.customers.create(params={"name": name}, options=options).id


calls.serve(create)
