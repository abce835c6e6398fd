"""What the query head learns: the same as TransFusion's."""

from __future__ import annotations

from typing import Literal

from perception.training.criteria.transfusion import Settings as TransFusionSettings


class Settings(TransFusionSettings):
    """As published, by default."""

    name: Literal["query"] = "query"
