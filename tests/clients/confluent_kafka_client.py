"""confluent-kafka with the verbs of the tests: BOOTSTRAP CA CERTIFICATE KEY, then create, produce or consume.

produce TOPIC CODEC      each line of stdin is a record; prints its offset, or the error's name and message
consume TOPIC COUNT      prints the first COUNT values of partition 0
create TOPIC PARTITIONS
"""

import sys

from confluent_kafka import Consumer, Producer, TopicPartition
from confluent_kafka.admin import AdminClient, NewTopic

bootstrap, ca, certificate, key, verb, topic, argument = sys.argv[1:]
reach = {
    "bootstrap.servers": bootstrap,
    "security.protocol": "ssl",
    "ssl.ca.location": ca,
    "ssl.certificate.location": certificate,
    "ssl.key.location": key,
}

if verb == "create":
    admin = AdminClient(reach)
    for future in admin.create_topics([NewTopic(topic, int(argument), 1)]).values():
        future.result(30)
elif verb == "produce":
    producer = Producer(reach | {"enable.idempotence": True, "compression.type": argument})
    reports = {}

    def reported(number):
        def report(error, message):
            reports[number] = f"{error.name()}: {error.str()}" if error else message.offset()

        return report

    for number, line in enumerate(sys.stdin.read().splitlines()):
        producer.produce(topic, line, partition=0, on_delivery=reported(number))
    left = producer.flush(30)
    if left:
        sys.exit(f"{left} records without a report")
    for number in sorted(reports):
        print(reports[number])
elif verb == "consume":
    consumer = Consumer(reach | {"group.id": "unused", "enable.auto.commit": False, "check.crcs": True, "fetch.wait.max.ms": 50})
    consumer.assign([TopicPartition(topic, 0, 0)])
    for _ in range(int(argument)):
        message = consumer.poll(30)
        if message is None:
            sys.exit("nothing more within 30 s")
        if message.error():
            sys.exit(str(message.error()))
        print(message.value().decode())
    consumer.close()
else:
    sys.exit(f"unknown verb {verb}")
