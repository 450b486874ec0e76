"""The reference application as the distortion of the case ``DISTORTED_CASE`` has it, for a server in a process of its own."""

from __future__ import annotations

import os

from asgi_conformance.case import Scenario
from asgi_conformance.reference import app as reference
from asgi_conformance.suite import TOPICS
from tests.conformance.distorted import distorted

case = next(case for topic in TOPICS for case in topic if case.id == os.environ["DISTORTED_CASE"])
assert isinstance(case, Scenario)
app = distorted(reference, case.bad.app)
