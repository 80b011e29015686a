"""How Prefect sees a step: names, retries, artifacts; no logic of the steps themselves."""
