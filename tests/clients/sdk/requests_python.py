import uuid

import requests
from requests.adapters import HTTPAdapter
from urllib3.util import Retry

import calls

STATUSES = [409, 500, 502, 503, 504]


def create(url, key, name, retries):
    retry = Retry(total=retries, allowed_methods=None, status_forcelist=STATUSES, backoff_factor=0.1)
    with requests.Session() as session:
        session.mount("http://", HTTPAdapter(max_retries=retry))
        headers = {"Idempotency-Key": key or str(uuid.uuid4()), "Authorization": "Bearer 1"}
        answer = session.post(url + "/things", json={"name": name}, headers=headers)
        answer.raise_for_status()
        return answer.json()["id"]


calls.serve(create)
