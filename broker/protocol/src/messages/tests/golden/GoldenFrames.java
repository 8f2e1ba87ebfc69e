import com.fasterxml.jackson.core.JsonParser;
import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.ObjectMapper;
import com.fasterxml.jackson.databind.node.ArrayNode;
import com.fasterxml.jackson.databind.node.JsonNodeFactory;
import com.fasterxml.jackson.databind.node.ObjectNode;
import java.io.ByteArrayOutputStream;
import java.io.InputStream;
import java.lang.reflect.Method;
import java.nio.ByteBuffer;
import java.nio.charset.StandardCharsets;
import java.util.HexFormat;
import org.apache.kafka.common.Uuid;
import org.apache.kafka.common.message.FetchResponseData;
import org.apache.kafka.common.message.ProduceRequestData;
import org.apache.kafka.common.message.RequestHeaderData;
import org.apache.kafka.common.message.ResponseHeaderData;
import org.apache.kafka.common.protocol.ApiKeys;
import org.apache.kafka.common.protocol.ApiMessage;
import org.apache.kafka.common.protocol.ByteBufferAccessor;
import org.apache.kafka.common.protocol.Message;
import org.apache.kafka.common.protocol.ObjectSerializationCache;
import org.apache.kafka.common.record.internal.MemoryRecords;

/**
 * Writes the frames the codec is held to: every message in every version, filled from the schemas in Kafka's
 * own jar and written by Kafka's own classes. Run by `generate`, which brings the jars; golden.rs makes the values again.
 */
public class GoldenFrames {
    /** The calls the codec has, and the last version of each where that is not the schema's: unstable ones are left out. */
    static final String[] CALLS = {"ApiVersions", "Metadata", "Produce", "Fetch", "ListOffsets", "CreateTopics",
        "DeleteTopics", "DescribeConfigs", "DescribeCluster", "InitProducerId 5", "FindCoordinator",
        "CreatePartitions", "ElectLeaders", "IncrementalAlterConfigs", "AlterPartitionReassignments",
        "ListPartitionReassignments", "OffsetForLeaderEpoch"};

    static final int CORRELATION_ID = 0x01020304;
    static final String[] RECORDS = {"records-0", "records-1, longer"};

    static final ObjectMapper SCHEMAS = new ObjectMapper().enable(JsonParser.Feature.ALLOW_COMMENTS);
    static final JsonNodeFactory JSON = JsonNodeFactory.instance;

    public static void main(String[] arguments) throws Exception {
        for (String call : CALLS) {
            String[] words = call.split(" ");
            for (String direction : new String[] {"Request", "Response"}) {
                JsonNode schema = schema(words[0] + direction);
                int[] versions = range(schema.get("validVersions").asText());
                int last = words.length > 1 ? Integer.parseInt(words[1]) : versions[1];
                for (int version = versions[0]; version <= last; version++) {
                    for (String kind : new String[] {"full", "null"}) {
                        String frame = frame(words[0] + direction, schema, (short) version, kind.equals("null"));
                        System.out.println(words[0] + direction + " " + version + " " + kind + " " + frame);
                    }
                }
            }
        }
    }

    static String frame(String name, JsonNode schema, short version, boolean nulls) throws Exception {
        ApiMessage message = null;
        ObjectNode values = struct(schema.get("fields"), version, 0, nulls);
        for (Method method : Class.forName("org.apache.kafka.common.message." + name + "DataJsonConverter").getMethods()) {
            if (method.getName().equals("read")) {
                message = (ApiMessage) method.invoke(null, values, version);
            }
        }
        putRecords(message, nulls);
        ApiKeys key = ApiKeys.forId(message.apiKey());
        ByteArrayOutputStream frame = new ByteArrayOutputStream();
        if (name.endsWith("Request")) {
            RequestHeaderData header = new RequestHeaderData().setRequestApiKey(key.id).setRequestApiVersion(version)
                .setCorrelationId(CORRELATION_ID).setClientId(nulls ? null : "golden");
            frame.write(bytes(header, key.requestHeaderVersion(version)));
        } else {
            frame.write(bytes(new ResponseHeaderData().setCorrelationId(CORRELATION_ID), key.responseHeaderVersion(version)));
        }
        frame.write(bytes(message, version));
        return HexFormat.of().formatHex(frame.toByteArray());
    }

    static byte[] bytes(Message message, short version) {
        ObjectSerializationCache cache = new ObjectSerializationCache();
        ByteBuffer buffer = ByteBuffer.allocate(message.size(cache, version));
        message.write(new ByteBufferAccessor(buffer), cache, version);
        return buffer.array();
    }

    /** The converters from JSON know no records. In null frames a produce has none, a fetch empty ones, as brokers answer. */
    static void putRecords(Message message, boolean nulls) {
        int place = 0;
        if (message instanceof ProduceRequestData produce) {
            for (var topic : produce.topicData()) {
                for (var partition : topic.partitionData()) {
                    partition.setRecords(nulls ? null : records(RECORDS[place++ % 2]));
                }
            }
        } else if (message instanceof FetchResponseData fetch) {
            for (var topic : fetch.responses()) {
                for (var partition : topic.partitions()) {
                    partition.setRecords(records(nulls ? "" : RECORDS[place++ % 2]));
                }
            }
        }
    }

    static MemoryRecords records(String text) {
        return MemoryRecords.readableRecords(ByteBuffer.wrap(text.getBytes(StandardCharsets.UTF_8)));
    }

    static ObjectNode struct(JsonNode fields, int version, int place, boolean nulls) {
        ObjectNode struct = JSON.objectNode();
        for (JsonNode field : fields) {
            boolean tagged = !text(field, "taggedVersions").equals("none");
            if (!has(text(field, "versions"), version) || tagged && nulls) {
                continue;
            }
            String name = field.get("name").asText();
            name = Character.toLowerCase(name.charAt(0)) + name.substring(1);
            struct.set(name, value(field, version, place, nulls));
        }
        return struct;
    }

    static JsonNode value(JsonNode field, int version, int place, boolean nulls) {
        String type = field.get("type").asText();
        if (type.equals("records") || nulls && has(text(field, "nullableVersions"), version)) {
            return JSON.nullNode();
        }
        if (!type.startsWith("[]")) {
            return element(field, type, version, place, nulls);
        }
        ArrayNode list = JSON.arrayNode();
        for (int i = 0; i < (nulls ? 1 : 2); i++) {
            list.add(element(field, type.substring(2), version, place + i, nulls));
        }
        return list;
    }

    static JsonNode element(JsonNode field, String type, int version, int place, boolean nulls) {
        String name = field.get("name").asText().replaceAll("(?<=[a-z0-9])([A-Z])", "_$1").toLowerCase() + "-" + place;
        long hash = hash(name);
        return switch (type) {
            case "int8" -> JSON.numberNode(hash & 0x7f);
            case "int16" -> JSON.numberNode(hash & 0x7fff);
            case "int32" -> JSON.numberNode(hash & 0x7fffffff);
            case "int64" -> JSON.numberNode(hash & Long.MAX_VALUE);
            case "bool" -> JSON.booleanNode((hash & 1) == 1);
            case "string" -> JSON.textNode(name);
            case "uuid" -> JSON.textNode(new Uuid(hash(name + "-0"), hash(name + "-1")).toString());
            default -> struct(field.get("fields"), version, place, nulls);
        };
    }

    /** FNV-1a and two steps to spread it, as in golden.rs. */
    static long hash(String text) {
        long hash = 0xcbf29ce484222325L;
        for (byte b : text.getBytes(StandardCharsets.UTF_8)) {
            hash = (hash ^ b) * 0x100000001b3L;
        }
        hash = (hash ^ hash >>> 32) * 0x9e3779b97f4a7c15L;
        return hash ^ hash >>> 29;
    }

    static JsonNode schema(String name) throws Exception {
        try (InputStream json = GoldenFrames.class.getResourceAsStream("/common/message/" + name + ".json")) {
            return SCHEMAS.readTree(json);
        }
    }

    static String text(JsonNode field, String name) {
        return field.has(name) ? field.get(name).asText() : "none";
    }

    static boolean has(String versions, int version) {
        return !versions.equals("none") && range(versions)[0] <= version && version <= range(versions)[1];
    }

    static int[] range(String versions) {
        String[] ends = versions.trim().replace("+", "-" + Short.MAX_VALUE).split("-");
        return new int[] {Integer.parseInt(ends[0]), Integer.parseInt(ends[ends.length - 1])};
    }
}
