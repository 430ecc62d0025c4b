import java.io.IOException;
import java.net.URI;
import java.net.URLDecoder;
import java.net.URLEncoder;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.nio.file.StandardOpenOption;
import java.security.MessageDigest;
import java.time.Duration;
import java.time.Instant;
import java.time.ZoneOffset;
import java.time.format.DateTimeFormatter;
import java.util.ArrayList;
import java.util.Base64;
import java.util.HexFormat;
import java.util.List;
import java.util.Map;
import java.util.Set;
import java.util.TreeMap;
import javax.crypto.Mac;
import javax.crypto.spec.SecretKeySpec;
import javax.security.auth.callback.Callback;
import javax.security.auth.callback.UnsupportedCallbackException;
import javax.security.auth.login.AppConfigurationEntry;
import org.apache.kafka.common.security.auth.AuthenticateCallbackHandler;
import org.apache.kafka.common.security.oauthbearer.OAuthBearerToken;
import org.apache.kafka.common.security.oauthbearer.OAuthBearerValidatorCallback;

/**
 * What a broker of MSK checks of a client that signs in by AWS_MSK_IAM: the token is a request to
 * {@code kafka.REGION.amazonaws.com} for the action {@code kafka-cluster:Connect}, signed by Signature Version 4 with the
 * client's credentials, and counts for 15 minutes.
 *
 * <p>The secret of the access key {@code ID} is {@code secret-of-ID}. A token of an access key that begins with {@code brief}
 * ends after eight seconds. Each key that signed in is noted, a line each, in the file that the option {@code log} names.
 */
public final class MskIamHandler implements AuthenticateCallbackHandler {
    private static final DateTimeFormatter TIME =
            DateTimeFormatter.ofPattern("yyyyMMdd'T'HHmmss'Z'").withZone(ZoneOffset.UTC);
    private static final Duration LIFETIME = Duration.ofMinutes(15);

    private String region;
    private Path log;

    @Override
    public void configure(Map<String, ?> settings, String mechanism, List<AppConfigurationEntry> entries) {
        Map<String, ?> options = entries.get(0).getOptions();
        region = (String) options.get("region");
        log = Path.of((String) options.get("log"));
    }

    @Override
    public void handle(Callback[] callbacks) throws IOException, UnsupportedCallbackException {
        for (Callback callback : callbacks) {
            if (!(callback instanceof OAuthBearerValidatorCallback asked)) {
                throw new UnsupportedCallbackException(callback);
            }
            try {
                asked.token(check(asked.tokenValue()));
            } catch (Refusal | IllegalArgumentException refusal) {
                note("refused: " + refusal.getMessage());
                asked.error("invalid_token", null, null);
            }
        }
    }

    private OAuthBearerToken check(String token) throws IOException, Refusal {
        URI request = URI.create(new String(Base64.getUrlDecoder().decode(token), StandardCharsets.UTF_8));
        Map<String, String> query = new TreeMap<>();
        for (String pair : request.getRawQuery().split("&")) {
            String[] parts = pair.split("=", 2);
            query.put(decode(parts[0]), decode(parts[1]));
        }
        expect("host", "kafka." + region + ".amazonaws.com", request.getHost());
        expect("scheme", "https", request.getScheme());
        expect("Action", "kafka-cluster:Connect", query.get("Action"));
        expect("algorithm", "AWS4-HMAC-SHA256", query.get("X-Amz-Algorithm"));
        expect("expiry", String.valueOf(LIFETIME.toSeconds()), query.get("X-Amz-Expires"));
        expect("signed headers", "host", query.get("X-Amz-SignedHeaders"));
        String date = query.get("X-Amz-Date");
        Instant signed = Instant.from(TIME.parse(date));
        if (Duration.between(signed, Instant.now()).abs().compareTo(LIFETIME) > 0) {
            throw new Refusal("signed at " + date);
        }
        String[] scope = query.get("X-Amz-Credential").split("/", 2);
        String id = scope[0];
        expect("scope", date.substring(0, 8) + "/" + region + "/kafka-cluster/aws4_request", scope[1]);
        expect("signature", signature(request.getHost(), query, date, scope[1], "secret-of-" + id),
                query.get("X-Amz-Signature"));
        note(id);
        Instant end = id.startsWith("brief") ? Instant.now().plusSeconds(8) : signed.plus(LIFETIME);
        return new Token(token, id, signed.toEpochMilli(), end.toEpochMilli());
    }

    /** Signature Version 4 of a request that has its signature in the query. */
    private static String signature(
            String host, Map<String, String> query, String date, String scope, String secret) {
        List<String> pairs = new ArrayList<>();
        query.forEach((name, value) -> {
            // The client's name is added to what was signed.
            if (!name.equals("X-Amz-Signature") && !name.equals("User-Agent")) {
                pairs.add(encode(name) + "=" + encode(value));
            }
        });
        String canonical = String.join(
                "\n", "GET", "/", String.join("&", pairs), "host:" + host, "", "host", sha256(""));
        String toSign = String.join("\n", "AWS4-HMAC-SHA256", date, scope, sha256(canonical));
        byte[] key = ("AWS4" + secret).getBytes(StandardCharsets.UTF_8);
        for (String part : scope.split("/")) {
            key = hmac(key, part);
        }
        return HexFormat.of().formatHex(hmac(key, toSign));
    }

    private static String decode(String text) {
        return URLDecoder.decode(text, StandardCharsets.UTF_8);
    }

    private static String encode(String text) {
        return URLEncoder.encode(text, StandardCharsets.UTF_8)
                .replace("+", "%20").replace("*", "%2A").replace("%7E", "~");
    }

    private static String sha256(String text) {
        try {
            byte[] bytes = text.getBytes(StandardCharsets.UTF_8);
            return HexFormat.of().formatHex(MessageDigest.getInstance("SHA-256").digest(bytes));
        } catch (java.security.NoSuchAlgorithmException error) {
            throw new IllegalStateException(error);
        }
    }

    private static byte[] hmac(byte[] key, String text) {
        try {
            Mac mac = Mac.getInstance("HmacSHA256");
            mac.init(new SecretKeySpec(key, "HmacSHA256"));
            return mac.doFinal(text.getBytes(StandardCharsets.UTF_8));
        } catch (java.security.GeneralSecurityException error) {
            throw new IllegalStateException(error);
        }
    }

    private static void expect(String what, String expected, String found) throws Refusal {
        if (!expected.equals(found)) {
            throw new Refusal(what + " is " + found + ", not " + expected);
        }
    }

    private synchronized void note(String line) throws IOException {
        Files.writeString(log, line + "\n", StandardOpenOption.CREATE, StandardOpenOption.APPEND);
    }

    @Override
    public void close() {}

    private static final class Refusal extends Exception {
        private static final long serialVersionUID = 1;

        Refusal(String why) {
            super(why);
        }
    }

    private record Token(String value, String principalName, Long startTimeMs, long lifetimeMs)
            implements OAuthBearerToken {
        @Override
        public Set<String> scope() {
            return Set.of();
        }
    }
}
