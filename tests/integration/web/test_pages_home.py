import re


def test_it_says_what_this_is_and_leads_to_the_docs_and_the_health(client):
    answer = client.get("/")
    assert (answer.status_code, answer.mimetype) == (200, "text/html")
    links = re.findall(r'<a href="([^"]+)"', answer.get_data(as_text=True))
    assert links == ["/docs", "/readyz"]
    assert client.get(links[0]).status_code == 200
