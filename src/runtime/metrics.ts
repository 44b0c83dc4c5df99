import {
  AggregatorRegistry,
  Counter,
  collectDefaultMetrics,
  Gauge,
  Histogram,
  type MetricObject,
  Registry,
} from 'prom-client'
import { assert } from '../base/assert.ts'

/** A metric name ends in its unit: `volume_append_seconds`. Labels come from closed sets. */
export interface MetricDefinition<Label extends string = string> {
  readonly name: string
  readonly help: string
  readonly labelNames?: readonly Label[]
}

export type MetricsSnapshot = MetricObject[]

/** A number that only grows. For code that runs so often that looking up a label would show. */
export class Tally {
  value = 0

  add(amount: number): void {
    this.value += amount
  }
}

/** Tallies under one metric name, one for each set of labels: resolve them once, keep them. */
export class TallyFamily<Label extends string> {
  readonly #series: { readonly labels: Readonly<Record<Label, string>>; readonly tally: Tally }[] =
    []

  /** The same object for the same labels. */
  of(labels: Readonly<Record<Label, string>>): Tally {
    const key = seriesKey(labels)
    const found = this.#series.find((series) => seriesKey(series.labels) === key)
    if (found !== undefined) return found.tally
    const tally = new Tally()
    this.#series.push({ labels, tally })
    return tally
  }

  writeTo(counter: Counter<Label>): void {
    counter.reset()
    for (const { labels, tally } of this.#series) counter.inc({ ...labels }, tally.value)
  }
}

/**
 * The numbers of one server, in a registry of its own: two servers in one process do not see each
 * other's. Asking for a name that is there gives the same metric again.
 */
export class Metrics {
  readonly #registry = new Registry()
  readonly #tallies = new Map<string, TallyFamily<string>>()

  get contentType(): string {
    return this.#registry.contentType
  }

  counter<Label extends string = never>(definition: MetricDefinition<Label>): Counter<Label> {
    const found = this.#registry.getSingleMetric(definition.name)
    if (found === undefined) return new Counter(this.#configuration(definition))
    assert(found instanceof Counter, `${definition.name} is a counter`)
    return found
  }

  /** `read`, when given, is asked at each scrape. */
  gauge<Label extends string = never>(
    definition: MetricDefinition<Label>,
    read?: (gauge: Gauge<Label>) => void,
  ): Gauge<Label> {
    const found = this.#registry.getSingleMetric(definition.name)
    if (found !== undefined) {
      assert(found instanceof Gauge, `${definition.name} is a gauge`)
      return found
    }
    const configuration = this.#configuration(definition)
    if (read === undefined) return new Gauge(configuration)
    return new Gauge({
      ...configuration,
      collect() {
        read(this)
      },
    })
  }

  histogram<Label extends string = never>(
    definition: MetricDefinition<Label> & { readonly buckets: readonly number[] },
  ): Histogram<Label> {
    const found = this.#registry.getSingleMetric(definition.name)
    if (found === undefined) {
      const buckets = [...definition.buckets]
      return new Histogram({ ...this.#configuration(definition), buckets })
    }
    assert(found instanceof Histogram, `${definition.name} is a histogram`)
    return found
  }

  /** A counter for hot paths: adding to it is one addition. */
  tallies<Label extends string>(definition: MetricDefinition<Label>): TallyFamily<Label> {
    const found = this.#tallies.get(definition.name)
    if (found !== undefined) return found as TallyFamily<string> as TallyFamily<Label>
    const family = new TallyFamily<Label>()
    const configuration = this.#configuration(definition)
    new Counter<Label>({
      ...configuration,
      collect() {
        family.writeTo(this)
      },
    })
    this.#tallies.set(definition.name, family as TallyFamily<string>)
    return family
  }

  /** Memory, CPU, event loop and garbage collection of this process. */
  collectProcess(): void {
    collectDefaultMetrics({ register: this.#registry })
  }

  /** In the text format of Prometheus. */
  text(): Promise<string> {
    return this.#registry.metrics()
  }

  /** In a form that another thread can be sent; see `mergeMetrics`. */
  snapshot(): Promise<MetricsSnapshot> {
    return this.#registry.getMetricsAsJSON()
  }

  #configuration<Label extends string>(definition: MetricDefinition<Label>) {
    const { name, help, labelNames = [] } = definition
    return { name, help, labelNames: [...labelNames], registers: [this.#registry] }
  }
}

/** What several threads have counted, added up, in the text format of Prometheus. */
export function mergeMetrics(snapshots: MetricsSnapshot[]): Promise<string> {
  return AggregatorRegistry.aggregate(snapshots).metrics()
}

function seriesKey(labels: Readonly<Record<string, string>>): string {
  return JSON.stringify(Object.entries(labels).sort(([a], [b]) => (a < b ? -1 : 1)))
}
