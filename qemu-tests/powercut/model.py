"""What must be there, given what was asked for and what was acknowledged.

A thing is a key ("tag big:1", "image sha256:…", "container one") with a value, or None where it is not. While a change is under
way both values are right; once it is acknowledged only the new one is. "damage LAYER" is not looked for, but allowed while set.
"""


class Model:
    def __init__(self):
        self.allowed = {}

    def begin(self, effects):
        for key, value in effects.items():
            self.allowed[key] = self.allowed.get(key, {None}) | {value}

    def done(self, effects):
        for key, value in effects.items():
            self.allowed[key] = {value}

    def settle(self, found):
        """What was unsure is what was found: it may not change any more."""
        for key in self.allowed:
            self.allowed[key] = {found.get(key)}

    def problems(self, found):
        bad = []
        for key in sorted(self.allowed.keys() | found.keys()):
            if key.startswith("damage "):
                continue
            allowed, value = self.allowed.get(key, {None}), found.get(key)
            if value not in allowed:
                bad.append(f"{key}: {'is not there' if value is None else value}, expected {' or '.join(map(str, allowed))}")
        return bad

    def damaged(self):
        """Layers that the test itself has damaged."""
        return {key.removeprefix("damage ") for key, values in self.allowed.items() if key.startswith("damage ") and "possible" in values}

    @staticmethod
    def at(steps, events):
        """After those events of a record."""
        model = Model()
        for event in events:
            if isinstance(event, dict) and "step" in event:
                effects = steps[event["step"]]["effects"]
                model.done(effects) if event.get("done") else model.begin(effects)
        return model
