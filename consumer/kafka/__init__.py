"""The Kafka adapters: the only package that imports aiokafka."""

from consumer.kafka.client_patches import patch_clients

patch_clients()
