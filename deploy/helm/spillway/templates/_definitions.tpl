{{/* Prefix of all names. Short, since names of pods and labels are bounded to 63 characters. */}}
{{- define "spillway.fullname" -}}
{{- if contains "spillway" .Release.Name -}}
{{- .Release.Name | trunc 40 | trimSuffix "-" -}}
{{- else -}}
{{- printf "%s-spillway" (.Release.Name | trunc 31 | trimSuffix "-") -}}
{{- end -}}
{{- end -}}

{{/* What selects the pods of a role; never changes. Takes (dict "root" $ "role" "producer"). */}}
{{- define "spillway.selector" -}}
app.kubernetes.io/name: spillway
app.kubernetes.io/instance: {{ .root.Release.Name }}
app.kubernetes.io/component: {{ .role }}
{{- end -}}

{{- define "spillway.labels" -}}
{{ include "spillway.selector" . }}
app.kubernetes.io/version: {{ .root.Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .root.Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .root.Chart.Name .root.Chart.Version | replace "+" "_" }}
{{- end -}}

{{- define "spillway.port" -}}
{{- get (dict "gateway" "8080" "producer" "8081" "consumer" "8082") . -}}
{{- end -}}

{{/*
An environment variable from the Secret of a role. Takes (dict "root" $ "role" "consumer" "name" "POSTGRES__URL" "key" "postgres-url").
*/}}
{{- define "spillway.secretVariable" -}}
- name: SPILLWAY_{{ .name }}
  valueFrom:
    secretKeyRef:
      name: {{ required "secret must name an existing Secret; values.yaml lists its entries" ((index .root.Values .role).secret | default .root.Values.secret) }}
      key: {{ .key }}
{{- end -}}

{{/*
Settings of a role as environment variables. What is given under config wins over what follows from other values; what is secret
comes from the Secret alone, and the schema refuses it under config.
Takes (dict "root" $ "role" "producer").
*/}}
{{- define "spillway.variables" -}}
{{- $values := .root.Values -}}
{{- $fullname := include "spillway.fullname" .root -}}
{{- $own := dict "DRAIN_TIMEOUT" (printf "%ds" (int $values.drainTimeoutSeconds)) -}}
{{- $_ := set $own (printf "%s__LISTEN" (upper .role)) (printf "%s:%s" $values.listenAddress (include "spillway.port" .role)) -}}
{{- $service := printf "%s-%s" $fullname .role -}}
{{- $hosts := list $service -}}
{{- range $suffix := list "" ".svc" ".svc.cluster.local" -}}
{{- $hosts = append $hosts (printf "%s.%s%s" $service $.root.Release.Namespace $suffix) -}}
{{- end -}}
{{- if eq .role "gateway" -}}
{{- $hosts = concat $hosts $values.gateway.hosts -}}
{{- end -}}
{{- $_ := set $own "HTTP__HOSTS" (join "," $hosts) -}}
{{- $_ := set $own "AUTH__MODE" $values.auth.mode -}}
{{- if ne $values.auth.mode "off" -}}
{{- $_ := set $own "AUTH__KEYS_FILE" "/etc/spillway/keys/keys.toml" -}}
{{- if $values.auth.sessions -}}
{{- $_ := set $own "AUTH__SESSION_KEY_FILE" "/etc/spillway/keys/session-secrets" -}}
{{- end -}}
{{- $_ := set $own "AUTH__METRICS" $values.auth.metrics -}}
{{- end -}}
{{- $scheme := ternary "https" "http" (ne $values.tls.secret "") -}}
{{- if $values.tls.secret -}}
{{- $_ := set $own "HTTP__TLS_CERTIFICATE" "/etc/spillway/http/tls.crt" -}}
{{- $_ := set $own "HTTP__TLS_KEY" "/etc/spillway/http/tls.key" -}}
{{- if eq .role "gateway" -}}
{{- $_ := set $own "GATEWAY__UPSTREAM_CA" "/etc/spillway/http/ca.crt" -}}
{{- end -}}
{{- end -}}
{{- if eq .role "gateway" -}}
{{- $_ := set $own "GATEWAY__PRODUCERS" (printf "%s://%s-producer:%s" $scheme $fullname (include "spillway.port" "producer")) -}}
{{- $_ := set $own "GATEWAY__CONSUMERS" (printf "%s://%s-consumer:%s" $scheme $fullname (include "spillway.port" "consumer")) -}}
{{- with $values.gateway.trustedProxies -}}
{{- $_ := set $own "GATEWAY__TRUSTED_PROXIES" (join "," .) -}}
{{- end -}}
{{- else -}}
{{- $networks := required "trustedProxies must name the networks of the gateway's pods, such as [10.244.0.0/16]: otherwise producers treat all clients as one, or trust no proxy" (join "," $values.trustedProxies) -}}
{{- $_ := set $own (printf "%s__TRUSTED_PROXIES" (upper .role)) $networks -}}
{{- $_ := set $own "BUS" "kafka" -}}
{{- $_ := set $own "KAFKA__BROKERS" (required "kafka.brokers must name brokers, such as kafka-0.kafka:9092,kafka-1.kafka:9092" $values.kafka.brokers) -}}
{{- $_ := set $own "KAFKA__PARTITIONS" (toString (int $values.kafka.partitions)) -}}
{{- $_ := set $own "KAFKA__REPLICATION_FACTOR" (toString (int $values.kafka.replicationFactor)) -}}
{{- $_ := set $own "KAFKA__RETENTION" $values.kafka.retention -}}
{{- with $values.kafka.saslMechanism -}}
{{- $_ := set $own "KAFKA__SASL_MECHANISM" . -}}
{{- end -}}
{{- if $values.kafka.tls.enabled -}}
{{- $_ := set $own "KAFKA__TLS" "true" -}}
{{- if $values.kafka.tls.secret -}}
{{- $_ := set $own "KAFKA__TLS_CA" "/etc/spillway/kafka/ca.crt" -}}
{{- end -}}
{{- if $values.kafka.tls.clientCertificate -}}
{{- $_ := required "kafka.tls.secret must name the Secret with tls.crt and tls.key for kafka.tls.clientCertificate" $values.kafka.tls.secret -}}
{{- $_ := set $own "KAFKA__TLS_CERTIFICATE" "/etc/spillway/kafka/tls.crt" -}}
{{- $_ := set $own "KAFKA__TLS_KEY" "/etc/spillway/kafka/tls.key" -}}
{{- end -}}
{{- end -}}
{{- if $values.redis.enabled -}}
{{- $_ := set $own "LIMITER" "redis" -}}
{{- end -}}
{{- end -}}
{{- if eq .role "producer" -}}
{{- $_ := set $own "DATA_DIR" "/var/lib/spillway" -}}
{{- $_ := set $own "JOURNAL__BYTES_MAX" $values.producer.journal.bytesMax -}}
{{- end -}}
{{- if eq .role "consumer" -}}
{{- $_ := set $own "STORE" "postgres" -}}
{{- end -}}
{{- range $key, $value := mergeOverwrite $own (deepCopy $values.config) (deepCopy (index $values .role).config) }}
- name: SPILLWAY_{{ $key }}
  value: {{ $value | quote }}
{{- end }}
{{- if ne .role "gateway" }}
{{- if $values.kafka.saslMechanism }}
{{ include "spillway.secretVariable" (dict "root" .root "role" .role "name" "KAFKA__SASL_USERNAME" "key" "kafka-sasl-username") }}
{{ include "spillway.secretVariable" (dict "root" .root "role" .role "name" "KAFKA__SASL_PASSWORD" "key" "kafka-sasl-password") }}
{{- end }}
{{- if $values.redis.enabled }}
{{ include "spillway.secretVariable" (dict "root" .root "role" .role "name" "REDIS__URL" "key" "redis-url") }}
{{- end }}
{{- if $values.alertWebhook }}
{{ include "spillway.secretVariable" (dict "root" .root "role" .role "name" "ALERT__WEBHOOK_URL" "key" "alert-webhook-url") }}
{{- end }}
{{- end }}
{{- if eq .role "consumer" }}
{{ include "spillway.secretVariable" (dict "root" .root "role" .role "name" "POSTGRES__URL" "key" "postgres-url") }}
{{- end }}
{{- end -}}

{{/* The template of a role's pods. Takes (dict "root" $ "role" "producer"). */}}
{{- define "spillway.pod" -}}
{{- $values := .root.Values -}}
{{- $own := index $values .role -}}
{{- $files := dict -}}
{{- $scheme := ternary "HTTPS" "HTTP" (ne $values.tls.secret "") -}}
{{- $keys := "" -}}
{{- if ne $values.auth.mode "off" -}}
{{- $keys = required "secret, or auth.keysSecret, must name an existing Secret with keys.toml; auth.mode=off lets everyone in" ($values.auth.keysSecret | default $values.secret) -}}
{{- end -}}
{{- if $values.tls.secret -}}
{{- $_ := set $files "http" $values.tls.secret -}}
{{- end -}}
{{- if and (ne .role "gateway") $values.kafka.tls.enabled $values.kafka.tls.secret -}}
{{- $_ := set $files "kafka" $values.kafka.tls.secret -}}
{{- end -}}
{{- if and (eq .role "consumer") $values.postgres.tlsSecret -}}
{{- $_ := set $files "postgres" $values.postgres.tlsSecret -}}
{{- end -}}
metadata:
  labels:
    {{- include "spillway.labels" . | nindent 4 }}
  {{- if eq $values.metrics.scrape "annotations" }}
  annotations:
    prometheus.io/scrape: "true"
    prometheus.io/port: {{ include "spillway.port" .role | quote }}
    prometheus.io/path: /actuator/prometheus
    {{- if $values.tls.secret }}
    prometheus.io/scheme: https
    {{- end }}
  {{- end }}
spec:
  # Otherwise Kubernetes sets SPILLWAY_… variables for Services with this name, which Spillway rejects as unknown keys.
  enableServiceLinks: false
  automountServiceAccountToken: false
  # Longer than wait and drain together: a process that is killed earlier may lose events in memory.
  terminationGracePeriodSeconds: {{ add $values.preStopSeconds $values.drainTimeoutSeconds 10 }}
  {{- with $values.imagePullSecrets }}
  imagePullSecrets:
    {{- toYaml . | nindent 4 }}
  {{- end }}
  securityContext:
    runAsNonRoot: true
    runAsUser: 10001
    runAsGroup: 10001
    fsGroup: 10001
    fsGroupChangePolicy: OnRootMismatch
    seccompProfile:
      type: RuntimeDefault
  containers:
    - name: spillway
      image: {{ printf "%s:%s" $values.image.repository ($values.image.tag | default .root.Chart.AppVersion) | quote }}
      imagePullPolicy: {{ $values.image.pullPolicy }}
      args: [{{ .role }}]
      env:
        {{- include "spillway.variables" . | trim | nindent 8 }}
      ports:
        - name: http
          containerPort: {{ include "spillway.port" .role }}
      # The process serves within seconds, whether or not Kafka and PostgreSQL answer.
      startupProbe:
        httpGet: {path: /actuator/health/liveness, port: http, scheme: {{ $scheme }}}
        periodSeconds: 1
        timeoutSeconds: 2
        failureThreshold: 60
      livenessProbe:
        httpGet: {path: /actuator/health/liveness, port: http, scheme: {{ $scheme }}}
        periodSeconds: 10
        timeoutSeconds: 5
        failureThreshold: 6
      readinessProbe:
        httpGet: {path: /actuator/health/readiness, port: http, scheme: {{ $scheme }}}
        periodSeconds: 2
        timeoutSeconds: 2
        failureThreshold: 2
      lifecycle:
        preStop:
          sleep:
            seconds: {{ $values.preStopSeconds }}
      resources:
        {{- toYaml $own.resources | nindent 8 }}
      securityContext:
        allowPrivilegeEscalation: false
        readOnlyRootFilesystem: true
        capabilities:
          drop: [ALL]
      {{- if or $files $keys (eq .role "producer") }}
      volumeMounts:
        {{- if $keys }}
        - {name: keys, mountPath: /etc/spillway/keys, readOnly: true}
        {{- end }}
        {{- if eq .role "producer" }}
        - {name: journal, mountPath: /var/lib/spillway}
        {{- end }}
        {{- range $of, $secret := $files }}
        - {name: {{ $of }}-tls, mountPath: /etc/spillway/{{ $of }}, readOnly: true}
        {{- end }}
      {{- end }}
  {{- if or $files $keys }}
  volumes:
    {{- if $keys }}
    - name: keys
      secret:
        secretName: {{ $keys }}
        items:
          - {key: keys.toml, path: keys.toml}
          {{- if $values.auth.sessions }}
          - {key: session-secrets, path: session-secrets}
          {{- end }}
        defaultMode: 0440
    {{- end }}
    {{- range $of, $secret := $files }}
    - name: {{ $of }}-tls
      secret:
        secretName: {{ $secret }}
        defaultMode: 0440
    {{- end }}
  {{- end }}
  # The failure of one machine should not take down all pods of a role.
  topologySpreadConstraints:
    {{- range $key := list "topology.kubernetes.io/zone" "kubernetes.io/hostname" }}
    - maxSkew: 1
      topologyKey: {{ $key }}
      whenUnsatisfiable: ScheduleAnyway
      labelSelector:
        matchLabels:
          {{- include "spillway.selector" $ | nindent 10 }}
    {{- end }}
  {{- with $own.nodeSelector }}
  nodeSelector:
    {{- toYaml . | nindent 4 }}
  {{- end }}
  {{- with $own.tolerations }}
  tolerations:
    {{- toYaml . | nindent 4 }}
  {{- end }}
  {{- with $own.affinity }}
  affinity:
    {{- toYaml . | nindent 4 }}
  {{- end }}
{{- end -}}
