"""`ragledger distribute`: spreads ai_dialogue_log over the workers of a Citus cluster."""

from consumer.admin.distribute.apply import Applied, apply
from consumer.admin.distribute.errors import CannotDistributeError, DistributeError
from consumer.admin.distribute.plan import Key, Plan, plan

__all__ = ["Applied", "CannotDistributeError", "DistributeError", "Key", "Plan", "apply", "plan"]
