"""kafka-python with the verbs of the tests: BOOTSTRAP CA CERTIFICATE KEY, then create, produce or consume.

produce TOPIC CODEC      each line of stdin is a record; prints its offset, or the error's name and message
consume TOPIC COUNT      prints the first COUNT values of partition 0
create TOPIC PARTITIONS
"""

import sys

from kafka import KafkaConsumer, KafkaProducer, TopicPartition
from kafka.admin import KafkaAdminClient, NewTopic
from kafka.errors import KafkaError

bootstrap, ca, certificate, key, verb, topic, argument = sys.argv[1:]
reach = dict(
    bootstrap_servers=bootstrap,
    security_protocol="SSL",
    ssl_cafile=ca,
    ssl_certfile=certificate,
    ssl_keyfile=key,
)

if verb == "create":
    admin = KafkaAdminClient(**reach)
    admin.create_topics([NewTopic(topic, num_partitions=int(argument), replication_factor=1)])
elif verb == "produce":
    codec = None if argument == "none" else argument
    producer = KafkaProducer(**reach, acks="all", compression_type=codec, linger_ms=50, retries=0)
    sent = [producer.send(topic, line.encode(), partition=0) for line in sys.stdin.read().splitlines()]
    producer.flush(30)
    for future in sent:
        try:
            print(future.get(30).offset)
        except KafkaError as error:
            print(f"{type(error).__name__}: {error}")
elif verb == "consume":
    consumer = KafkaConsumer(**reach, enable_auto_commit=False, check_crcs=True, fetch_max_wait_ms=50)
    partition = TopicPartition(topic, 0)
    consumer.assign([partition])
    consumer.seek(partition, 0)
    for _ in range(int(argument)):
        print(next(consumer).value.decode())
    consumer.close(autocommit=False)
else:
    sys.exit(f"unknown verb {verb}")
