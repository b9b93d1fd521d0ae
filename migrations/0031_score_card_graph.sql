-- Lists of graphs ask which graphs have a candidate that scores so and so. With the graph beside the score that is one scan of
-- an index, not a join of all scores with all candidates.
--
-- A trigger fills it, so that an older worker goes on writing scores. A candidate never changes its graph.

ALTER TABLE score_card ADD COLUMN graph_id uuid;

CREATE FUNCTION score_card_set_graph_id() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    SELECT graph_id INTO NEW.graph_id FROM candidate WHERE id = NEW.candidate_id;
    RETURN NEW;
END
$$;

CREATE TRIGGER score_card_graph_id BEFORE INSERT OR UPDATE OF candidate_id ON score_card
    FOR EACH ROW EXECUTE FUNCTION score_card_set_graph_id();

UPDATE score_card s SET graph_id = c.graph_id FROM candidate c WHERE c.id = s.candidate_id;

CREATE INDEX score_card_metric_graph_id_idx ON score_card (metric, graph_id) INCLUDE (score);
