from modern_treasury import ModernTreasury

import calls


def create(url, key, name, retries):
    client = ModernTreasury(api_key="live-1", organization_id="org-1", base_url=url, max_retries=retries)
    order = client.payment_orders.create(
        type="ach",
        amount=1000,
        direction="credit",
        originating_account_id="ia_1",
        receiving_account_id="ea_1",
        description=name,
        idempotency_key=key,
    )
    return order.id


calls.serve(create)
