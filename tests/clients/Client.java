import java.io.BufferedReader;
import java.io.InputStreamReader;
import java.time.Duration;
import java.util.ArrayList;
import java.util.List;
import java.util.Properties;
import java.util.concurrent.ExecutionException;
import java.util.concurrent.Future;
import org.apache.kafka.clients.admin.Admin;
import org.apache.kafka.clients.admin.NewTopic;
import org.apache.kafka.clients.consumer.ConsumerRecord;
import org.apache.kafka.clients.consumer.KafkaConsumer;
import org.apache.kafka.clients.producer.KafkaProducer;
import org.apache.kafka.clients.producer.ProducerRecord;
import org.apache.kafka.clients.producer.RecordMetadata;
import org.apache.kafka.common.TopicPartition;
import org.apache.kafka.common.serialization.StringDeserializer;
import org.apache.kafka.common.serialization.StringSerializer;

/**
 * Apache's Java client with the verbs of the tests: BOOTSTRAP CA KEYSTORE, then create, produce or consume.
 *
 * <pre>
 * produce TOPIC CODEC      each line of stdin is a record; prints its offset, or the error's name and message
 * consume TOPIC COUNT      prints the first COUNT values of partition 0
 * create TOPIC PARTITIONS
 * </pre>
 */
public final class Client {
    private static final Duration PATIENCE = Duration.ofSeconds(30);

    public static void main(String[] arguments) throws Exception {
        Properties reach = new Properties();
        reach.put("bootstrap.servers", arguments[0]);
        reach.put("security.protocol", "SSL");
        reach.put("ssl.truststore.type", "PEM");
        reach.put("ssl.truststore.location", arguments[1]);
        reach.put("ssl.keystore.type", "PEM");
        reach.put("ssl.keystore.location", arguments[2]);
        String topic = arguments[4];
        switch (arguments[3]) {
            case "create" -> create(reach, topic, Integer.parseInt(arguments[5]));
            case "produce" -> produce(reach, topic, arguments[5]);
            case "consume" -> consume(reach, topic, Integer.parseInt(arguments[5]));
            default -> throw new IllegalArgumentException("unknown verb " + arguments[3]);
        }
    }

    private static void create(Properties reach, String topic, int partitions) throws Exception {
        try (Admin admin = Admin.create(reach)) {
            admin.createTopics(List.of(new NewTopic(topic, partitions, (short) 1))).all().get();
        }
    }

    private static void produce(Properties reach, String topic, String codec) throws Exception {
        reach.put("enable.idempotence", "true");
        reach.put("acks", "all");
        reach.put("linger.ms", "50");
        reach.put("compression.type", codec);
        reach.put("delivery.timeout.ms", "30000");
        reach.put("request.timeout.ms", "15000");
        List<Future<RecordMetadata>> sent = new ArrayList<>();
        try (var producer = new KafkaProducer<>(reach, new StringSerializer(), new StringSerializer());
                var lines = new BufferedReader(new InputStreamReader(System.in))) {
            for (String line = lines.readLine(); line != null; line = lines.readLine()) {
                sent.add(producer.send(new ProducerRecord<>(topic, 0, null, line)));
            }
            producer.flush();
        }
        for (Future<RecordMetadata> one : sent) {
            try {
                System.out.println(one.get().offset());
            } catch (ExecutionException error) {
                System.out.println(error.getCause().getClass().getSimpleName() + ": " + error.getCause().getMessage());
            }
        }
    }

    private static void consume(Properties reach, String topic, int count) {
        reach.put("fetch.max.wait.ms", "50");
        reach.put("enable.auto.commit", "false");
        try (var consumer = new KafkaConsumer<>(reach, new StringDeserializer(), new StringDeserializer())) {
            TopicPartition partition = new TopicPartition(topic, 0);
            consumer.assign(List.of(partition));
            consumer.seekToBeginning(List.of(partition));
            long until = System.nanoTime() + PATIENCE.toNanos();
            int left = count;
            while (left > 0 && System.nanoTime() < until) {
                for (ConsumerRecord<String, String> record : consumer.poll(Duration.ofSeconds(1))) {
                    if (left-- > 0) {
                        System.out.println(record.value());
                    }
                }
            }
            if (left > 0) {
                throw new IllegalStateException(left + " of " + count + " records did not come");
            }
        }
    }
}
