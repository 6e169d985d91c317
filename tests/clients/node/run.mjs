// Runs one Node.js client: `run.mjs CLIENT URL RUN COUNT`. The rules of all runners are in ../python/plan.py.
import { Plan } from './plan.mjs'

// Only the libraries of one client are loaded.
const CLIENTS = {
  'otlp-http-json-js': ['./otlp.mjs', 'httpJson'],
  'otlp-http-json-js-gzip': ['./otlp.mjs', 'httpJson'],
  'otlp-http-proto-js': ['./otlp.mjs', 'httpProtobuf'],
  'otlp-grpc-js': ['./otlp.mjs', 'grpc'],
  'pino-opentelemetry': ['./pino.mjs', 'openTelemetry'],
  'pino-loki': ['./pino.mjs', 'loki'],
  'pino-loki-unbatched': ['./pino.mjs', 'loki'],
  'pino-elasticsearch': ['./pino.mjs', 'elasticsearch'],
  'elasticsearch-js': ['./bulk.mjs', 'elasticsearch'],
  'opensearch-js': ['./bulk.mjs', 'opensearch'],
  'winston-elasticsearch': ['./winston.mjs', 'elasticsearch'],
  'winston-loki-json': ['./winston.mjs', 'loki'],
  'winston-loki-proto': ['./winston.mjs', 'loki'],
  'winston-syslog-tcp': ['./winston.mjs', 'syslog'],
  'winston-syslog-udp': ['./winston.mjs', 'syslog'],
  'winston-http': ['./winston.mjs', 'http'],
  'winston-http-batch': ['./winston.mjs', 'http'],
  'splunk-logging': ['./splunk.mjs', 'splunkLogging']
}

const plan = new Plan(process.argv.slice(2))
if (!CLIENTS[plan.client]) throw new Error(`unknown client ${plan.client}`)
process.on('uncaughtException', error => plan.failed(error))
process.on('unhandledRejection', error => plan.failed(error))
const [module, name] = CLIENTS[plan.client]
await (await import(module))[name](plan)
// Some clients keep timers and connections.
process.exit(0)
